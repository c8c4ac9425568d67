"""Records with only the fields that the fold needs, created in place of aiokafka's.

aiokafka's records have seven further fields, headers among them: more than twenty objects that nothing here reads.
Creating them, keeping them while records are queued, and freeing them takes a seventh of the agents' CPU time under
load.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from gengui_stream.projections.outcomes import Record

REPLACED: Final = "PartitionRecords"
"""The name under which aiokafka 0.14 looks up the class that unpacks a partition of a fetch (consumer/fetcher.py)."""


class RawRecord(NamedTuple):
    """A record of the log without its headers. `timestamp`: Unix milliseconds."""

    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class RawTopic:
    """Passed to a consumer as its `key_deserializer`, it selects raw records for this topic. The deserializer is the
    only argument that a consumer passes on to where records are created; as such it leaves keys unchanged."""

    topic: str

    def __call__(self, key: bytes | None) -> bytes | None:
        return key


class RawPartitionRecords(fetcher.PartitionRecords):
    """Replaces aiokafka's class for every consumer of the process. Consumers without a RawTopic get aiokafka's
    records."""

    def _consumer_record(self, tp: TopicPartition, record: Record) -> object:
        wanted = self._key_deserializer
        if isinstance(wanted, RawTopic) and wanted.topic == tp.topic:
            return RawRecord(record.offset, record.timestamp, record.key, record.value)
        return super()._consumer_record(tp, record)


def offer_raw_records() -> None:
    """Affects the whole process: from now on a consumer with a RawTopic gets raw records."""
    vars(fetcher)[REPLACED] = RawPartitionRecords
