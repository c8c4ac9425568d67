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
from gengui_stream.log.connection import connection, no_broker
from gengui_stream.settings import Settings

REQUEST_TIMEOUT_MS: Final = 6_000
"""Less than the API waits: a batch that is not confirmed by then is sent to the broker that leads its partition now,
with the same numbers, so that it is on the log once."""

LINGER_MS: Final = 0
"""A batch is sent at once; records that arrive during its request share the next one."""

CLOSE_S: Final = 5.0
NOT_STARTED: Final = "the log's producer is not started"

_log = structlog.get_logger(__name__)


class SelfHealingProducer:
    """Raises TransientError when no broker is reachable, and when it is not started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._current: AIOKafkaProducer | None = None
        self._started = False
        self._connecting: asyncio.Task[AIOKafkaProducer] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._started = True
        try:
            await self._get()
        except BaseException:
            await self._stop_connecting()
            raise

    async def stop(self) -> None:
        """Waits up to CLOSE_S for the records in flight."""
        self._started = False
        await self._stop_connecting()
        self._retire(self._current)
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @asynccontextmanager
    async def sending(self, within_s: float | None = None) -> AsyncIterator[AIOKafkaProducer]:
        """The producer to send with. A KafkaError or a time-out inside the block retires it. Raises TimeoutError when
        there is none within `within_s`: the connection goes on for the next caller."""
        async with asyncio.timeout(within_s):
            producer = await self._get()
        try:
            yield producer
        except (KafkaError, TimeoutError):
            self._retire(producer)
            raise

    async def _get(self) -> AIOKafkaProducer:
        """All callers wait for one connection."""
        if not self._started:
            raise TransientError(NOT_STARTED)
        if self._current is not None:
            return self._current
        if (connecting := self._connecting) is None:
            self._connecting = connecting = asyncio.ensure_future(self._connected())
            connecting.add_done_callback(self._take)
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():  # by `stop`, and not the caller
                raise TransientError(NOT_STARTED) from None
            raise

    def _take(self, connecting: "asyncio.Task[AIOKafkaProducer]") -> None:
        self._connecting = None
        if not connecting.cancelled() and connecting.exception() is None:
            self._current = connecting.result()

    async def _stop_connecting(self) -> None:
        if (connecting := self._connecting) is not None:
            connecting.cancel()
            await asyncio.wait({connecting})

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
            raise await no_broker(self._settings, error) from error
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
