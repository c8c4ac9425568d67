"""An idempotent producer that is replaced once a send has failed.

The broker numbers the batches of a producer for each partition. A batch that was given up leaves a gap in the numbers,
after which the broker rejects every further batch of that producer; aiokafka never resets it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gengui_stream.errors import TransientError
from gengui_stream.log.codec import VALUE_MAX_BYTES
from gengui_stream.log.connection import connection
from gengui_stream.settings import Settings

REQUEST_TIMEOUT_MS: Final = 15_000
LINGER_MS: Final = 0
"""A batch is sent at once; records that arrive during its request share the next one."""

CLOSE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class SelfHealingProducer:
    """Raises TransientError when no broker is reachable, and when it is not started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._current: AIOKafkaProducer | None = None
        self._started = False
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._started = True
        await self._get()

    async def stop(self) -> None:
        """Waits up to CLOSE_S for the records in flight."""
        self._started = False
        self._retire(self._current)
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[AIOKafkaProducer]:
        """The producer to send with. A KafkaError or a time-out inside the block retires it."""
        producer = await self._get()
        try:
            yield producer
        except (KafkaError, TimeoutError):
            self._retire(producer)
            raise

    async def _get(self) -> AIOKafkaProducer:
        async with self._connecting:  # one caller connects, the others wait for it
            if not self._started:
                raise TransientError("the log's producer is not started")
            if self._current is None:
                self._current = await self._connected()
            return self._current

    async def _connected(self) -> AIOKafkaProducer:
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
        except BaseException:
            self._close(producer)
            raise
        return producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        """Replaces the producer for later sends. Its records in flight are still sent."""
        if producer is None or producer is not self._current:
            return
        self._current = None
        self._close(producer)

    def _close(self, producer: AIOKafkaProducer) -> None:
        closing = asyncio.ensure_future(_closed(producer))
        self._closing.add(closing)
        closing.add_done_callback(self._forget)

    def _forget(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and (error := closing.exception()) is not None:
            _log.error("producer_not_closed", exc_info=error)


async def _closed(producer: AIOKafkaProducer) -> None:
    try:
        await producer.stop()
    except (KafkaError, OSError) as error:  # each failed send has raised its own error
        _log.info("producer_closed", error=repr(error))
