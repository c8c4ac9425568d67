"""Gaps in what a broker sends: a record that is gone for good, or one that is not written yet.

The embedded broker moves a partition's end on before it writes what it was given (docs/adr/0004-embedded-broker.md).
While two producers append, a reader can be sent the second one's record and not the first one's, which is there a
moment later. So a gap is read again before it is believed.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

PATIENCE_S: Final = 5.0


class Placed(Protocol):
    """A record, as far as its place goes."""

    @property
    def offset(self) -> int: ...


R = TypeVar("R", bound=Placed)


class Gaps:
    """Which offset of each partition is missing, and since when."""

    def __init__(self) -> None:
        self._missing: dict[int, tuple[int, float]] = {}

    def unbroken(self, partition: int, expected: int, records: Sequence[R], now: float) -> Sequence[R]:
        """Of the records that came for `expected`, those before the first gap; what follows is to be read again. All of
        them once the missing record has not come for `PATIENCE_S`, or when the log began anew. `now` is in seconds of
        any clock that only goes forward."""
        end = first_gap(expected, records)
        if end is None:
            self._missing.pop(partition, None)
            return records
        missing = expected + end
        known, since = self._missing.get(partition, (missing, now))
        self._missing[partition] = missing, since if known == missing else now
        gone = known == missing and now - since > PATIENCE_S
        return records if gone or records[0].offset < expected else records[:end]


def first_gap(expected: int, records: Sequence[Placed]) -> int | None:
    """The index of the first record that is not at its place, when the first belongs at `expected` and all others
    behind it. None when all are."""
    if not records or (records[0].offset == expected and records[-1].offset - expected + 1 == len(records)):
        return None
    return next(index for index, record in enumerate(records) if record.offset != expected + index)
