# The part of aiokafka 0.14 that this project uses: the package carries no types of its own.
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

class TopicPartition(NamedTuple):
    topic: str
    partition: int

class OffsetAndTimestamp(NamedTuple):
    offset: int
    timestamp: int

class RecordMetadata(NamedTuple):
    topic: str
    partition: int
    topic_partition: TopicPartition
    offset: int
    timestamp: int | None
    timestamp_type: int | None
    log_start_offset: int | None

class ConsumerRecord(Generic[K, V]):
    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: K
    value: V
    headers: Sequence[tuple[str, bytes]]

class _TransactionManager:
    _sequence_numbers: dict[TopicPartition, int]

class AIOKafkaProducer:
    _txn_manager: _TransactionManager
    def __init__(
        self,
        *,
        bootstrap_servers: Sequence[str],
        metadata_max_age_ms: int = ...,
        client_id: str | None = None,
        enable_idempotence: bool = False,
        acks: int | str = 1,
        linger_ms: int = 0,
        max_batch_size: int = 16384,
        max_request_size: int = 1048576,
        request_timeout_ms: int = 40000,
        retry_backoff_ms: int = 100,
        compression_type: str | None = None,
        security_protocol: str = "PLAINTEXT",
        ssl_context: SSLContext | None = None,
        sasl_mechanism: str = "PLAIN",
        sasl_plain_username: str | None = None,
        sasl_plain_password: str | None = None,
    ) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def flush(self) -> None: ...
    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> Future[RecordMetadata]: ...
    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> RecordMetadata: ...
    async def partitions_for(self, topic: str) -> set[int]: ...

class AIOKafkaConsumer:
    def __init__(
        self,
        *topics: str,
        bootstrap_servers: Sequence[str],
        metadata_max_age_ms: int = ...,
        client_id: str = ...,
        group_id: str | None = None,
        enable_auto_commit: bool = True,
        auto_offset_reset: str = "latest",
        key_deserializer: Callable[[bytes | None], object] | None = None,
        fetch_max_wait_ms: int = 500,
        fetch_max_bytes: int = ...,
        max_partition_fetch_bytes: int = 1048576,
        max_poll_records: int | None = None,
        max_poll_interval_ms: int = 300000,
        partition_assignment_strategy: Sequence[object] = ...,
        request_timeout_ms: int = 40000,
        session_timeout_ms: int = 10000,
        rebalance_timeout_ms: int | None = None,
        heartbeat_interval_ms: int = 3000,
        security_protocol: str = "PLAINTEXT",
        ssl_context: SSLContext | None = None,
        sasl_mechanism: str = "PLAIN",
        sasl_plain_username: str | None = None,
        sasl_plain_password: str | None = None,
    ) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def assignment(self) -> set[TopicPartition]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def highwater(self, partition: TopicPartition) -> int | None: ...
    async def topics(self) -> set[str]: ...
    async def position(self, partition: TopicPartition) -> int: ...
    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]: ...
    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def committed(self, partition: TopicPartition) -> int | None: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]: ...
    async def getone(self, *partitions: TopicPartition) -> ConsumerRecord[bytes | None, bytes | None]: ...
    async def commit(self, offsets: dict[TopicPartition, int] | None = None) -> None: ...
