"""The text of an API key: `gg_live_<id>_<secret><checksum>`.

The last six characters are the CRC-32 of everything before them in base 62. A scanner knows a key from similar text by
them, and a mistyped key is refused before the database is asked.
"""

import base64
import re
import secrets
from binascii import crc32
from dataclasses import dataclass
from typing import Final

from gengui_stream.token_patterns import API_KEY, EARLIER_API_KEY

CHECKSUM_CHARACTERS: Final = 6
SECRET_BYTES: Final = 32
ID_BYTES: Final = 4

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(API_KEY)
_EARLIER_KEY: Final = re.compile(EARLIER_API_KEY)
_ID: Final = re.compile(r"gg_(?:live_)?([0-9a-f]{8})_")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key, shown once, and its public id."""

    key_id: str
    text: str


def new_key_text() -> KeyText:
    return key_text(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))


def key_text(id_bytes: bytes, secret: bytes) -> KeyText:
    key_id = id_bytes.hex()
    begun = f"gg_live_{key_id}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"
    return KeyText(key_id, begun + checksum(begun))


def checksum(text: str) -> str:
    """Six characters: 62 to the power of six is more than the CRC-32 has values."""
    left, digits = crc32(text.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        left, digit = divmod(left, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def key_id_of(text: str) -> str | None:
    """The id of a whole key; None for a text that has not the form of one, or not its checksum."""
    if _KEY.fullmatch(text):
        whole = checksum(text[:-CHECKSUM_CHARACTERS]) == text[-CHECKSUM_CHARACTERS:]
    else:
        whole = _EARLIER_KEY.fullmatch(text) is not None
    found = _ID.match(text)
    return found[1] if whole and found else None
