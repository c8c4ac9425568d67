"""Makes aiokafka's consumers unpack the log with this package.

aiokafka's own classes raise while they unpack a record that they cannot read, which ends every consumer of the
partition at that offset, forever. Their records also have seven further fields, headers among them: more than twenty
objects that nothing here reads. Creating them, keeping them while records are queued, and freeing them takes a seventh
of the agents' CPU time under load.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from struct import Struct
from typing import Final

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from gengui_stream.log.unpacking.record_batch import PREFIX_BYTES, unpack_batch
from gengui_stream.log.unpacking.records import LogRecord, UnreadableRecord

REPLACED: Final = ("PartitionRecords", "MemoryRecords")
"""The names under which aiokafka 0.14 looks up the classes that unpack a partition of a fetch (consumer/fetcher.py)."""

GAP_MAX: Final = 10_000
"""Offsets that an untrusted header may hide; beyond that its successor cannot be trusted either."""

_LENGTH: Final = Struct(">i")
_LENGTH_AT: Final = 8
_OFFSET: Final = Struct(">q")


@dataclass(frozen=True, slots=True)
class RawTopic:
    """Passed to a consumer as its `key_deserializer`, it selects this package's records for this topic. The
    deserializer is the only argument that a consumer passes on to where records are created; as such it leaves keys
    unchanged."""

    topic: str

    def __call__(self, key: bytes | None) -> bytes | None:
        return key


class FetchedBytes:
    """The bytes of one partition in a fetch: batches, of which the last may be incomplete."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def has_next(self) -> bool:
        return next(self.batches(), None) is not None

    def size_in_bytes(self) -> int:
        return len(self.data)

    def batches(self) -> Iterator[bytes]:
        """A batch whose length is impossible is passed on with all bytes after it."""
        at = 0
        while len(self.data) - at >= PREFIX_BYTES:
            (length,) = _LENGTH.unpack_from(self.data, at + _LENGTH_AT)
            if length < 0:
                yield self.data[at:]
                return
            end = at + PREFIX_BYTES + length
            if end > len(self.data):
                return
            yield self.data[at:end]
            at = end


class LogPartitionRecords(fetcher.PartitionRecords):
    """Replaces aiokafka's class forevery consumer of the process. Consumers without a RawTopic get aiokafka's
    records."""

    def _unpack_records(self) -> Iterator[object]:
        fetched, wanted = self._records, self._key_deserializer
        if isinstance(wanted, RawTopic) and wanted.topic == self._tp.topic and isinstance(fetched, FetchedBytes):
            return self._unpack(fetched)
        if isinstance(fetched, FetchedBytes):
            self._records = MemoryRecords(fetched.data)
        return super()._unpack_records()

    def _unpack(self, fetched: FetchedBytes) -> Iterator[LogRecord]:
        batches = list(fetched.batches())
        damaged = False
        for batch, behind in zip_longest(batches, batches[1:]):
            next_batch = _base_offset(behind)
            for record in unpack_batch(self._tp.partition, batch, self.next_fetch_offset, next_batch):
                self.next_fetch_offset = record.offset + 1
                damaged = isinstance(record, UnreadableRecord)
                yield record
            if damaged and next_batch is not None:
                yield from self._unreadable_before(next_batch)

    def _unreadable_before(self, next_batch: int) -> Iterator[UnreadableRecord]:
        """The further offsets of a batch whose header cannot be trusted end where the next batch begins."""
        first = self.next_fetch_offset
        for offset in range(first, next_batch if next_batch - first < GAP_MAX else first):
            self.next_fetch_offset = offset + 1
            yield UnreadableRecord(self._tp.partition, offset, None, None, f"of the batch before {next_batch}")


def _base_offset(batch: bytes | None) -> int | None:
    return None if batch is None else int(_OFFSET.unpack_from(batch)[0])


def offer_log_records() -> None:
    """Affects the whole process: from now on a consumer with a RawTopic gets this package's records of the topic."""
    vars(fetcher).update(zip(REPLACED, (LogPartitionRecords, FetchedBytes), strict=True))
