"""Gaps in the offsets read from a partition. The log is neither compacted nor transactional (law 1), so a gap means
that records were removed; aiokafka continues behind it without an error."""

from collections.abc import Sequence
from typing import Protocol


class Placed(Protocol):
    """The part of a record that gap detection needs."""

    @property
    def offset(self) -> int: ...


def first_gap(expected: int, records: Sequence[Placed]) -> int | None:
    """The index of the first record whose offset differs from the consecutive offsets that begin with `expected`; None
    when the records are consecutive."""
    if not records or (records[0].offset == expected and records[-1].offset - expected + 1 == len(records)):
        return None
    return next(index for index, record in enumerate(records) if record.offset != expected + index)
