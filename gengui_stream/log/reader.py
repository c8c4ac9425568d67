"""Reads the log outside a consumer group, from given offsets to its end or continuously."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from gengui_stream.errors import TransientError
from gengui_stream.log.connection import connection, no_broker
from gengui_stream.log.unpacking.fetched import RawTopic, offer_log_records
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.settings import Settings

POLL_MS: Final = 500
CHUNK: Final = 5_000
CLOSE_S: Final = 5.0

SENT_WITHIN_S: Final = 30.0
"""A broker that has records and sends none for so long does not answer."""


class LogReader:
    """A cursor over partitions of the topic. `offsets`: the next offset to read of each."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, offsets: dict[int, int]) -> None:
        self._consumer = consumer
        self._topic = topic
        self.offsets = offsets

    async def read(self, limit: int = CHUNK, timeout_ms: int = POLL_MS) -> list[LogRecord]:
        """The next records, in order within each partition; empty when none arrived within `timeout_ms`. Skips missing
        offsets, which `log.gaps` detects."""
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=limit)
        chunks = cast("Mapping[TopicPartition, list[LogRecord]]", fetched)
        for at, chunk in chunks.items():
            self.offsets[at.partition] = chunk[-1].offset + 1
        return [record for chunk in chunks.values() for record in chunk]

    async def ends(self) -> dict[int, int]:
        """The broker's current end of each partition, which is the next offset to be assigned. Raises TransientError
        when the broker does not answer."""
        try:
            found = await self._consumer.end_offsets([TopicPartition(self._topic, p) for p in self.offsets])
        except (KafkaError, OSError) as error:
            raise TransientError(f"the broker does not say where {self._topic} ends: {error!r}") from error
        return {at.partition: end for at, end in found.items()}

    async def offsets_at(self, timestamp_ms: int) -> dict[int, int | None]:
        """The offset of the first record of each partition appended at this moment (Unix milliseconds) or later; None
        when it has none. Raises TransientError when the broker does not answer."""
        wanted = {TopicPartition(self._topic, partition): timestamp_ms for partition in self.offsets}
        try:
            found = await self._consumer.offsets_for_times(wanted)
        except (KafkaError, OSError) as error:
            raise TransientError(f"the broker does not say what {self._topic} had then: {error!r}") from error
        return {at.partition: each.offset if each else None for at, each in found.items()}

    async def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether no record before these offsets is left to read, even when the last of them was removed."""
        for partition, end in ends.items():
            if await self._consumer.position(TopicPartition(self._topic, partition)) < end:
                return False
        return True

    async def next_before(self, ends: Mapping[int, int]) -> list[LogRecord]:
        """The next records, of which some may be behind these ends; empty when none before them is left. Raises
        TransientError when the broker sends none for SENT_WITHIN_S."""
        try:
            async with asyncio.timeout(SENT_WITHIN_S):
                while not await self.reached(ends):
                    if records := await self.read():
                        return records
        except TimeoutError as error:
            raise TransientError(f"the broker sent nothing of {self._topic} for {SENT_WITHIN_S:.0f} s") from error
        return []

    async def until_end(self) -> AsyncIterator[list[LogRecord]]:
        """Batches of records up to the current end of the log. Raises TransientError when the broker sends none for
        SENT_WITHIN_S."""
        ends = await self.ends()
        while records := await self.next_before(ends):
            yield records

    async def follow(self, timeout_ms: int = POLL_MS) -> AsyncIterator[list[LogRecord]]:
        """Batches of records, without end; a batch is empty when no record arrived within `timeout_ms`."""
        while True:
            yield await self.read(timeout_ms=timeout_ms)


@asynccontextmanager
async def open_reader(
    settings: Settings, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
) -> AsyncIterator[LogReader]:
    """A reader of `partitions` (None: all), from the offsets in `start` (default 0). Raises TransientError when no
    broker is reachable."""
    async with opened_consumer(settings, wait_ms=200, fetch_bytes=8 * 1024 * 1024) as consumer:
        offsets = {p: (start or {}).get(p, 0) for p in _all(settings, partitions)}
        consumer.assign([TopicPartition(settings.events_topic, p) for p in offsets])
        for partition, offset in offsets.items():
            consumer.seek(TopicPartition(settings.events_topic, partition), offset)
        yield LogReader(consumer, settings.events_topic, offsets)


@asynccontextmanager
async def opened_consumer(settings: Settings, *, wait_ms: int, fetch_bytes: int) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the log without a group, and without a partition yet. `wait_ms`: the longest that a broker waits
    for new records. `fetch_bytes`: of one partition in one fetch; a larger batch comes whole. Raises TransientError
    when no broker is reachable."""
    offer_log_records()
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        **connection(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        key_deserializer=RawTopic(settings.events_topic),
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=fetch_bytes,
    )
    try:
        await _started(consumer)
    except (KafkaError, OSError) as error:
        await stop_consumer(consumer)
        raise await no_broker(settings, error) from error
    except BaseException:
        await stop_consumer(consumer)
        raise
    try:
        yield consumer
    finally:
        await stop_consumer(consumer)


async def _started(consumer: AIOKafkaConsumer) -> None:
    """aiokafka leaves a connection open when it is cancelled while it makes it: a start that has begun goes on for at
    most CLOSE_S, and the caller closes it."""
    starting = asyncio.ensure_future(consumer.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting}, timeout=CLOSE_S)
        if starting.done() and not starting.cancelled():
            starting.exception()  # retrieved: the caller is cancelled
        starting.cancel()
        raise


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stops the consumer within CLOSE_S. aiokafka cancels and awaits its own tasks: a task that has not run yet would
    propagate the cancellation to the caller, so the event loop runs once before; a task that missed its cancellation is
    cancelled again by the time-out."""
    await asyncio.sleep(0)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await consumer.stop()


def _all(settings: Settings, partitions: Collection[int] | None) -> Collection[int]:
    return range(settings.events_partitions) if partitions is None else partitions
