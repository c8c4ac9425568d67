"""Consecutive records of one partition, as a consumer fetched them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeVar

from gengui_stream.projections.outcomes import Record

BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of the values in one transaction. Common events have less than 1 KiB, so that their number is the limit. With
thousands of the largest ones, 1 MiB each, a command would take longer than its time-out, at every retry."""

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


def bytes_of(record: Record) -> int:
    return len(record.value or b"")


def fitting(records: Iterable[Record], most: int, bytes_most: int) -> int:
    """How many of the first records fit: at least one."""
    number = total = 0
    for record in islice(records, most):
        total += bytes_of(record)
        if total > bytes_most and number:
            break
        number += 1
    return number


def sliced(records: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    """In parts of at most `size` records and BYTES_MAX bytes."""
    start = 0
    while start < len(records):
        end = start + fitting(islice(records, start, None), size, BYTES_MAX)
        yield records[start:end]
        start = end


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
