"""Consecutive records of one partition, as a consumer fetched them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gengui_stream.projections.outcomes import Record

R = TypeVar("R", bound=Record)


class PartitionedRecord(Record, Protocol):
    @property
    def partition(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition. `epoch`: the assignment of the partition under which they were fetched.
    `more_in_fetch`: another batch of the same fetch follows."""

    epoch: int
    partition: int
    records: Sequence[Record]
    more_in_fetch: bool = False


def sliced(records: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def batches_of(records: Iterable[PartitionedRecord], epoch: int, size: int) -> list[RecordBatch]:
    """What a plain consumer fetched, by partition, in batches of at most `size`."""
    by_partition: defaultdict[int, list[PartitionedRecord]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    parts = [(partition, part) for partition, own in by_partition.items() for part in sliced(own, size)]
    return [
        RecordBatch(epoch, partition, part, more_in_fetch=number < len(parts))
        for number, (partition, part) in enumerate(parts, start=1)
    ]
