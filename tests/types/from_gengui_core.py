from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings


async def forward(settings: Settings) -> None:
    consumer = ConsumerStreams(settings, "my-stream", "my-group", "me", longest_wait_s=2)
    async with opened_redis(settings) as shared, consumer:
        producer = ProducerStreams(shared)
        await consumer.create_group()
        while True:
            for entry in await consumer.consume(100):
                await producer.add("output-stream", {"from": entry.id})
                await consumer.ack([entry.id])
