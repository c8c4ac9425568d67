"""The forms of API keys and tokens as regular expressions: for the code that reads them, for the redaction of logs, and
for secret scanners (docs/security.md)."""

from typing import Final

API_KEY: Final = r"gg_live_[0-9a-f]{8}_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}"
"""The id, the secret, and the checksum of all that is before it."""

EARLIER_API_KEY: Final = r"gg_[0-9a-f]{8}_[A-Za-z0-9_-]{43}"
"""Of releases before scopes: without a checksum, and valid until it is revoked."""

OF_STREAMS_LINKS_AND_SESSIONS: Final = r"gg_(?:stream|once|session)_[A-Za-z0-9_-]{43}"
"""In the query of an event stream, in the links of e-mails, and in the cookie of a session."""

SCANNED: Final = rf"\b(?:{API_KEY}|{EARLIER_API_KEY}|{OF_STREAMS_LINKS_AND_SESSIONS})(?![A-Za-z0-9_-])"
"""For scanners: every secret that this service gives to a user."""
