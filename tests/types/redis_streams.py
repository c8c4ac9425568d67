"""Blocking on the shared client, or reading through a producer, does not type-check: `make check` reports an ignored
error that is none (`warn_unused_ignores`)."""

from redis.asyncio import Redis

from gengui_stream.redis_io.streams import BlockingConsumer, ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings


async def proper(producer: ProducerStreams, consumer: ConsumerStreams, blocking: BlockingConsumer) -> None:
    await producer.add("s", {"a": "1"})
    await consumer.read_new(1)
    await blocking.wait_for_new(1)
    await blocking.ack(["1-0"])


async def a_producer_reads(producer: ProducerStreams) -> None:
    await producer.read_new(1)  # type: ignore[attr-defined]
    await producer.wait_for_new(1)  # type: ignore[attr-defined]


async def a_consumer_blocks_or_adds(consumer: ConsumerStreams) -> None:
    await consumer.wait_for_new(1)  # type: ignore[attr-defined]
    await consumer.add("s", {"a": "1"})  # type: ignore[attr-defined]


def blocking_on_the_shared_client(redis: Redis, settings: Settings) -> None:
    BlockingConsumer(settings, "s", "g", "me", longest_wait_s=1)
    BlockingConsumer(redis, "s", "g", "me", longest_wait_s=1)  # type: ignore[arg-type]


async def a_field_that_is_no_text(producer: ProducerStreams) -> None:
    await producer.add("s", {"a": 1})  # type: ignore[dict-item]
