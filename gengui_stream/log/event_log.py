"""Appending to the log: an idempotent producer with `acks=all`, and nothing transactional (law 1)."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.log.codec import VALUE_MAX_BYTES, encode_headers, encode_key, encode_value
from gengui_stream.log.connection import connection
from gengui_stream.log.positions import Position
from gengui_stream.log.producer_ids import ask_for_producer_ids_anew
from gengui_stream.settings import Settings
from schemas.events import Event

REQUEST_TIMEOUT_MS: Final = 15_000
LINGER_MS: Final = 1
"""Long enough for concurrent appends to share a request, short beside a commit."""

_log = structlog.get_logger(__name__)


class Appender(Protocol):
    """What may put events on the log."""

    async def append(self, event: Event) -> Position: ...

    async def append_many(self, events: Sequence[Event]) -> list[Position]: ...


class EventLog:
    """Appends events and says where they went. Start it before use; one a process is enough.

    Raises TransientError when the broker cannot be reached in time: the event may or may not be in the log then,
    so the caller appends the same event again (same id), and the fold ignores the duplicate.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects; raises TransientError when no broker answers."""
        ask_for_producer_ids_anew()
        producer = AIOKafkaProducer(
            **connection(self._settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=LINGER_MS,
            max_batch_size=256 * 1024,
            max_request_size=VALUE_MAX_BYTES + 64 * 1024,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise TransientError(f"no broker at {self._settings.kafka_bootstrap_servers}: {error}") from error
        self._producer = producer

    async def stop(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def append(self, event: Event) -> Position:
        """Returns once every in-sync replica has it."""
        return (await self.append_many([event]))[0]

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        """The positions, in the order given. Events of one generation keep their order."""
        producer, topic = self._started(), self._settings.events_topic
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000 + 5):
                sent = [
                    await producer.send(
                        topic, encode_value(event), key=encode_key(event), headers=encode_headers(event)
                    )
                    for event in events
                ]
                records = await asyncio.gather(*sent)
        except MessageSizeTooLargeError as error:
            raise PermanentError(f"an event is larger than the log takes: {error}") from error
        except (KafkaError, TimeoutError) as error:
            _log.warning("append_failed", events=len(events), error=repr(error))
            raise TransientError(f"the log did not confirm the append: {error!r}") from error
        return [Position(record.partition, record.offset) for record in records]

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise TransientError("the log's producer is not started")
        return self._producer
