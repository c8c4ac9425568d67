"""Whether a JPEG has all of its scans, by their headers (ITU-T T.81, annex B).

A progressive file that ends between two scans decodes without an error to an image that lacks detail or colours.
"""

import re
from collections.abc import Iterator
from typing import Final

START_OF_SCAN: Final = 0xDA
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15; the three are tables and an extension."""

_BARE: Final = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers without a segment."""

_COEFFICIENTS: Final = frozenset(range(64))
_AFTER_DATA: Final = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
"""In the data of a scan, 0xFF is followed by 0 or by a restart marker."""


def has_all_scans(jpeg: bytes) -> bool:
    """Whether every coefficient of every component is there in full precision. The last scan may be incomplete."""
    lacking: dict[int, set[int]] = {}
    for marker, segment in _segments(jpeg):
        if marker in _FRAMES and len(segment) >= 6:
            lacking = {component: set(_COEFFICIENTS) for component in segment[6 : 6 + 3 * segment[5] : 3]}
        elif marker == START_OF_SCAN and len(segment) >= 6:
            first, last, precision = segment[-3:]
            if precision & 0x0F == 0:
                for component in segment[1 : 1 + 2 * segment[0] : 2]:
                    lacking.get(component, set()).difference_update(range(first, last + 1))
    return bool(lacking) and not any(lacking.values())


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers with their segments, without the length, up to one that is torn."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if end > len(jpeg):
            return
        yield marker, jpeg[at + 4 : end]
        at = _end_of_data(jpeg, end) if marker == START_OF_SCAN else end


def _end_of_data(jpeg: bytes, start: int) -> int:
    following = _AFTER_DATA.search(jpeg, start)
    return following.end() - 2 if following else len(jpeg)
