from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Awaitable, Mapping
from enum import IntEnum
from ssl import SSLContext

class CloseReason(IntEnum):
    CONNECTION_BROKEN = 0

async def create_conn(
    host: str,
    port: int,
    *,
    request_timeout_ms: int,
    security_protocol: str,
    ssl_context: SSLContext | None,
    sasl_mechanism: str,
    sasl_plain_username: str | None,
    sasl_plain_password: str | None,
) -> AIOKafkaConnection: ...

class AIOKafkaConnection:
    host: str
    port: int
    _reader: StreamReader | None
    _writer: StreamWriter | None
    _read_task: Task[None]
    def _create_reader_task(self) -> Task[None]: ...
    _versions: Mapping[int, tuple[int, int]]
    def __init__(self, host: str, port: int, *, request_timeout_ms: int = ...) -> None: ...
    async def connect(self) -> object: ...
    def connected(self) -> bool: ...
    def send(self, request: object, expect_response: bool = True) -> Awaitable[object]: ...
    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Awaitable[object]: ...
    def close(self, reason: CloseReason | None = None) -> object: ...
