from redis.asyncio import Redis

from gengui_stream.redis_io.streams import BlockingConsumer, ProducerStreams
from gengui_stream.settings import Settings


async def forward(settings: Settings, shared: Redis) -> None:
    producer = ProducerStreams(shared)
    async with BlockingConsumer(settings, "my-stream", "my-group", "me", longest_wait_s=2) as consumer:
        await consumer.create_group()
        while True:
            for entry in await consumer.wait_for_new(100):
                await producer.add("output-stream", {"from": entry.id})
                await consumer.ack([entry.id])
