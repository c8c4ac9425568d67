"""Gaps in the offsets read from a partition. The log is neither compacted nor transactional (law 1), so a gap means
that records were removed; aiokafka continues behind it without an error."""

from collections.abc import Sequence
from typing import Protocol

from gengui_stream.errors import BugError


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


def check_no_gap(partition: int, expected: int, records: Sequence[Placed]) -> None:
    """The log has no gaps (law 1): a missing offset means that records were removed, and skipping it would hide the
    loss."""
    if first_gap(expected, records) is not None:
        last = records[-1].offset
        raise BugError(
            f"partition {partition}: expected offsets {expected} to {last}, but {len(records)} records begin at "
            f"{records[0].offset}: part of the log is gone. Restore it from its archive, or rebuild the projections."
        )
