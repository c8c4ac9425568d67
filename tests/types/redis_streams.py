"""Reading through a producer, a command on the shared client, or a consumer on the shared client does not type-check:
`make check` reports an ignored error that is none (`warn_unused_ignores`)."""

from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.redis_io.streams import BlockingConsumer, ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings


async def proper(shared: SharedRedis, settings: Settings) -> None:
    producer = ProducerStreams(shared)
    await producer.add("s", {"a": "1"})
    async with ConsumerStreams(settings, "s", "g", "me", longest_wait_s=1) as consumer:
        await consumer.consume(1)
        await consumer.ack(["1-0"])


async def a_producer_reads(producer: ProducerStreams) -> None:
    await producer.read_new(1)  # type: ignore[attr-defined]
    await producer.consume(1)  # type: ignore[attr-defined]


async def a_consumer_adds(consumer: ConsumerStreams, blocking: BlockingConsumer) -> None:
    await consumer.add("s", {"a": "1"})  # type: ignore[attr-defined]
    await blocking.add("s", {"a": "1"})  # type: ignore[attr-defined]


async def a_command_on_the_shared_client(shared: SharedRedis) -> None:
    await shared.blpop("list")  # type: ignore[attr-defined]
    await shared.client.xread({"s": "0"}, block=0)  # type: ignore[attr-defined]


def consuming_on_the_shared_client(shared: SharedRedis) -> None:
    ConsumerStreams(shared, "s", "g", "me", longest_wait_s=1)  # type: ignore[arg-type]


async def a_field_that_is_no_text(producer: ProducerStreams) -> None:
    await producer.add("s", {"a": 1})  # type: ignore[dict-item]
