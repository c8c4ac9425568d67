"""Reading the log outside a consumer group: from given offsets up to the end, or for ever.

The end of a partition is taken from the high watermark of a fetch, never from ListOffsets: that answer is wrong
on the embedded broker after a batch of several records.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gengui_stream.errors import TransientError
from gengui_stream.log.connection import connection
from gengui_stream.log.gaps import Gaps
from gengui_stream.settings import Settings

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]

POLL_MS: Final = 500
CHUNK: Final = 5_000
CLOSE_S: Final = 5.0


class LogReader:
    """A cursor over the partitions of the topic. `offsets` is the next offset to read of each."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, offsets: dict[int, int]) -> None:
        self._consumer = consumer
        self._topic = topic
        self.offsets = offsets
        self._gaps = Gaps()

    async def read(self, limit: int = CHUNK, timeout_ms: int = POLL_MS) -> list[Record]:
        """The next records, each partition in order; empty when none came within `timeout_ms`."""
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=limit)
        return [record for at, chunk in fetched.items() for record in self._unbroken(at, chunk)]

    def _unbroken(self, at: TopicPartition, chunk: Sequence[Record]) -> Sequence[Record]:
        """What comes before a gap; the rest is read again."""
        found = self._gaps.unbroken(at.partition, self.offsets[at.partition], chunk, time.monotonic())
        if found:
            self.offsets[at.partition] = found[-1].offset + 1
        if len(found) < len(chunk):
            self._consumer.seek(at, self.offsets[at.partition])
        return found

    def ends(self) -> dict[int, int | None]:
        """The high watermark of each partition as last fetched; None before the first fetch answered."""
        return {p: self._consumer.highwater(TopicPartition(self._topic, p)) for p in self.offsets}

    def at_end(self) -> bool:
        """Whether every partition was read up to its high watermark."""
        return all(end is not None and self.offsets[p] >= end for p, end in self.ends().items())

    async def until_end(self) -> AsyncIterator[list[Record]]:
        """Chunks of records up to the end of the log as it is found while reading."""
        while not self.at_end():
            records = await self.read()
            if records:
                yield records


@asynccontextmanager
async def open_reader(
    settings: Settings, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
) -> AsyncIterator[LogReader]:
    """A reader of `partitions` (None: of all), from `start` (missing ones from 0). Raises TransientError without a
    broker."""
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        **connection(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=200,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await stop_consumer(consumer)
        raise TransientError(f"no broker at {settings.kafka_bootstrap_servers}: {error}") from error
    except BaseException:
        await stop_consumer(consumer)
        raise
    try:
        offsets = {p: (start or {}).get(p, 0) for p in _all(settings, partitions)}
        consumer.assign([TopicPartition(settings.events_topic, p) for p in offsets])
        for partition, offset in offsets.items():
            consumer.seek(TopicPartition(settings.events_topic, partition), offset)
        yield LogReader(consumer, settings.events_topic, offsets)
    finally:
        await stop_consumer(consumer)


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """aiokafka cancels tasks of its own and awaits them: one that has not had its first turn takes us with it, and one
    that missed its cancellation is told again."""
    await asyncio.sleep(0)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await consumer.stop()


def _all(settings: Settings, partitions: Collection[int] | None) -> Collection[int]:
    return range(settings.events_partitions) if partitions is None else partitions
