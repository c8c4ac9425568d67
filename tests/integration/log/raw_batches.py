"""Appends record batches byte by byte, as a broken client or one of another vendor may."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest

from gengui_stream.log.connection import connection
from gengui_stream.settings import Settings
from tests.integration.running import eventually

NO_ERROR = 0
REFUSED = {-1, 2, 76, 87}
"""An exception of the broker, a corrupt message, a codec that does not fit, an invalid record. Any other error passes,
such as that of a topic whose partitions are not known to the broker yet."""


class BatchProducer:
    def __init__(self, client: AIOKafkaClient, topic: str) -> None:
        self._client, self._topic = client, topic

    async def append(self, partition: int, batch: bytes) -> int | None:
        """The offset of its first record; None when the broker refuses it."""
        answered = await eventually(partial(self._answered, partition, batch))
        assert answered is not None
        error, offset = answered
        return offset if error == NO_ERROR else None

    async def _answered(self, partition: int, batch: bytes) -> tuple[int, int] | None:
        """The broker's error and offset; None when it may take the same batch later."""
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=10_000, topics=[(self._topic, [(partition, batch)])]
        )
        [node] = self._client.cluster.brokers()
        response = await self._client.send(node.nodeId, request)
        [(_, [(_, error, offset, *_)])] = response.topics
        return (error, offset) if error in {NO_ERROR, *REFUSED} else None


@asynccontextmanager
async def batch_producer(settings: Settings) -> AsyncIterator[BatchProducer]:
    client = AIOKafkaClient(**connection(settings))
    await client.bootstrap()
    try:
        yield BatchProducer(client, settings.events_topic)
    finally:
        await client.close()
