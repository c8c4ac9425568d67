"""Gaps in what was read of a partition: an offset that the log does not have. Someone removed it, for the log is never
compacted and never transactional (law 1); aiokafka goes on behind it in silence."""

from collections.abc import Sequence
from typing import Protocol


class Placed(Protocol):
    """A record, as far as its position goes."""

    @property
    def offset(self) -> int: ...


def first_gap(expected: int, records: Sequence[Placed]) -> int | None:
    """The index of the first record that is not at its offset, when the first belongs at `expected` and all others
    behind it. None when all are."""
    if not records or (records[0].offset == expected and records[-1].offset - expected + 1 == len(records)):
        return None
    return next(index for index, record in enumerate(records) if record.offset != expected + index)
