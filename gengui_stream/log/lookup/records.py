"""Reads the records at given offsets, without what lies between them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from gengui_stream.errors import TransientError
from gengui_stream.log.reader import opened_consumer
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.settings import Settings

FETCH_BYTES: Final = 64 * 1024
"""A producer's batch is smaller most of the time, and comes whole when it is larger."""

WAIT_MS: Final = 20
ANSWERED_WITHIN_S: Final = 10.0


class LogLookup:
    """Random access to the log. Nothing is fetched between two calls. Calls wait for each other."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, partitions: int) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partitions = partitions
        self._calls = asyncio.Lock()

    async def records(self, partition: int, offsets: Collection[int]) -> dict[int, LogRecord]:
        """The records at these offsets, without those that the log does not have. Raises TransientError when the broker
        does not answer."""
        async with self._answering():
            at = TopicPartition(self._topic, partition)
            first, end = await self._range(at)
            return await self._read(at, sorted(offset for offset in set(offsets) if first <= offset < end))

    async def first_from(self, partition: int, offset: int) -> LogRecord | None:
        """The first record at this offset or behind it; None at the end of the log."""
        async with self._answering():
            at = TopicPartition(self._topic, partition)
            first, end = await self._range(at)
            return (await self._fetch(at, max(first, offset)))[0] if max(first, offset) < end else None

    async def ends(self) -> dict[int, int]:
        """The next offset to be assigned of each partition."""
        every = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        async with self._answering():
            return {at.partition: end for at, end in (await self._consumer.end_offsets(every)).items()}

    async def offsets_at(self, moment: datetime) -> dict[int, int]:
        """The first offset of each partition whose record has this time or a later one; the end of a partition without
        any. Producers set the times: they need not ascend."""
        ends = await self.ends()
        wanted = {TopicPartition(self._topic, each): max(0, int(moment.timestamp() * 1000)) for each in ends}
        async with self._answering():
            found = await self._consumer.offsets_for_times(wanted)
        return ends | {at.partition: place.offset for at, place in found.items() if place is not None}

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            async with self._calls, asyncio.timeout(ANSWERED_WITHIN_S):
                yield
        except (KafkaError, OSError, TimeoutError) as error:
            raise TransientError(f"the broker does not send records of {self._topic}: {error!r}") from error

    async def _range(self, at: TopicPartition) -> tuple[int, int]:
        """A position outside of it would make aiokafka start from the beginning."""
        first, end = await asyncio.gather(self._consumer.beginning_offsets([at]), self._consumer.end_offsets([at]))
        return first[at], end[at]

    async def _read(self, at: TopicPartition, wanted: list[int]) -> dict[int, LogRecord]:
        found: dict[int, LogRecord] = {}
        while wanted:
            records = await self._fetch(at, wanted[0])
            due = set(wanted)
            found.update((record.offset, record) for record in records if record.offset in due)
            wanted = [offset for offset in wanted if offset > records[-1].offset]
        return found

    async def _fetch(self, at: TopicPartition, offset: int) -> list[LogRecord]:
        """The next records from this offset on: what one fetch brings."""
        self._consumer.seek(at, offset)
        self._consumer.resume(at)
        try:
            while True:
                fetched = await self._consumer.getmany(at, timeout_ms=500)
                if records := cast("Mapping[TopicPartition, list[LogRecord]]", fetched).get(at):
                    return records
        finally:
            self._consumer.pause(at)  # before aiokafka's fetcher runs, which would fetch what follows


@asynccontextmanager
async def opened_lookup(settings: Settings) -> AsyncIterator[LogLookup]:
    """Raises TransientError when no broker is reachable."""
    async with opened_consumer(settings, wait_ms=WAIT_MS, fetch_bytes=FETCH_BYTES) as consumer:
        every = [TopicPartition(settings.events_topic, each) for each in range(settings.events_partitions)]
        consumer.assign(every)
        consumer.pause(*every)
        for at in every:
            consumer.seek(at, 0)
        yield LogLookup(consumer, settings.events_topic, settings.events_partitions)
