"""Whether connections to the server of a URL are encrypted, and the server is verified."""

from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

Tls: TypeAlias = Literal["verified", "chain", "unverified", "none"]
"""chain: the certificate is verified, and not the name of the host in it. unverified: encrypted for any server. none:
without TLS, or only where the server offers it."""


def tls_of_database(url: str) -> Tls:
    """Pure. Of a URL as asyncpg reads it; as with libpq, `require` verifies where a CA is given."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    match given.get("sslmode", "prefer"):
        case "verify-full":
            return "verified"
        case "verify-ca":
            return "chain"
        case "require":
            return "chain" if "sslrootcert" in given else "unverified"
        case _:
            return "none"


def tls_of_redis(url: str) -> Tls:
    """Pure. Of a URL as redis-py reads it."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    if parts.scheme != "rediss":
        return "none"
    if given.get("ssl_cert_reqs", "required") != "required":
        return "unverified"
    checked = given.get("ssl_check_hostname", "true").lower() not in {"0", "f", "false", "n", "no"}
    return "verified" if checked else "chain"
