"""Consecutive records of one partition, as a consumer fetched them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gengui_stream.projections.outcomes import Record

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition. `epoch` tells which assignment of the partition they were fetched under.
    `followed`: more of the same fetch comes right behind."""

    epoch: int
    partition: int
    records: Sequence[Record]
    more_in_fetch: bool = False


def sliced(records: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]
