"""Text of strangers for a terminal: what would move its cursor, colour it, forge a line or reorder it is escaped."""

import re
from typing import Final

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""The control characters of ASCII and ISO 6429, line separators, the marks and overrides of direction (Unicode Standard
Annex 9), and lone surrogates, which no terminal can be sent."""

_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """The text on one line, with escapes as in Python and JSON: `\\n`, `\\u001b`."""
    return _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"
