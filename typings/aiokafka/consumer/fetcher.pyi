from collections.abc import Iterator, Sequence
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
    _tp: TopicPartition
    _records: object
    _key_deserializer: object
    next_fetch_offset: int
    def __init__(
        self,
        tp: TopicPartition,
        records: object,
        aborted_transactions: Sequence[tuple[int, int]] | None,
        fetch_offset: int,
        key_deserializer: object,
        value_deserializer: object,
        check_crcs: bool,
        isolation_level: int,
    ) -> None: ...
    def __iter__(self) -> Iterator[object]: ...
    def _unpack_records(self) -> Iterator[object]: ...
    def _consumer_record(self, tp: TopicPartition, record: _Record) -> object: ...
