from collections.abc import Iterator

class DefaultRecordBatchBuilder:
    def __init__(
        self,
        magic: int,
        compression_type: int,
        is_transactional: int,
        producer_id: int,
        producer_epoch: int,
        base_sequence: int,
        batch_size: int,
    ) -> None: ...
    def append(
        self,
        offset: int,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> object: ...
    def build(self) -> bytearray: ...

class _DefaultRecord:
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None

class DefaultRecordBatch:
    last_offset_delta: int
    def __init__(self, buffer: bytes) -> None: ...
    def validate_crc(self) -> bool: ...
    def __iter__(self) -> Iterator[_DefaultRecord]: ...
