from typing import Protocol

from aiokafka import TopicPartition

class _Record(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...

class PartitionRecords:
    _key_deserializer: object
    def _consumer_record(self, tp: TopicPartition, record: _Record) -> object: ...
