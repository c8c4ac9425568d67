"""What the fold needs of a record, made where aiokafka would make a record of its own.

aiokafka's holds seven things more, headers among them: more than twenty objects that nobody here reads. To make them,
to have them in the way while records wait in the lanes, and to take them apart again is a seventh of the agents'
processor time when they have much to fold.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from gengui_stream.projections.outcomes import Record

REPLACED: Final = "PartitionRecords"
"""The name under which aiokafka 0.14 looks up what unpacks a partition's part of a fetch (consumer/fetcher.py)."""


class RawRecord(NamedTuple):
    """A record of the log without its headers. `timestamp` is in Unix milliseconds."""

    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class RawTopic:
    """Given to a consumer as its `key_deserializer`, it asks for this topic's records raw. It is the one thing that a
    consumer hands down to where its records are made; as a deserializer it leaves keys as they are."""

    topic: str

    def __call__(self, key: bytes | None) -> bytes | None:
        return key


class RawPartitionRecords(fetcher.PartitionRecords):
    """aiokafka's, for every consumer of the process: those that do not ask for raw records get what they always got."""

    def _consumer_record(self, tp: TopicPartition, record: Record) -> object:
        wanted = self._key_deserializer
        if isinstance(wanted, RawTopic) and wanted.topic == tp.topic:
            return RawRecord(record.offset, record.timestamp, record.key, record.value)
        return super()._consumer_record(tp, record)


def offer_raw_records() -> None:
    """From now on, for the whole process, consumers may ask for raw records."""
    vars(fetcher)[REPLACED] = RawPartitionRecords
