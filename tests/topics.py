"""Topics of the log that one test after another uses, as long as none writes to them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition

from gengui_stream.log.topics import ensure_topic
from gengui_stream.settings import load_settings

WITHIN_S: Final = 10.0


class LentTopics:
    """To create a topic costs the broker much more than to see that nothing was written to one, and each topic that a
    broker has costs it something at every other."""

    def __init__(self, stack: Mapping[str, str]) -> None:
        self._settings = load_settings(dict(stack), env_files=())
        brokers = {"bootstrap.servers": self._settings.kafka_bootstrap_servers}
        self._reader = Consumer({**brokers, "group.id": "none", "log_level": 0})
        self._free: list[str] = []

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[str]:
        topic = self._free.pop() if self._free else await self._made()
        yield topic
        if await self._is_empty(topic):
            self._free.append(topic)

    async def _made(self) -> str:
        name = f"t{uuid4().hex[:16]}"
        await ensure_topic(self._settings.model_copy(update={"events_topic": name}))
        async with asyncio.timeout(WITHIN_S):  # the broker leads its partitions a moment after it has made them
            while not await self._is_empty(name):
                await asyncio.sleep(0.01)
        return name

    async def _is_empty(self, topic: str) -> bool:
        """A test may have ended the broker, or deleted the topic."""
        try:
            return not any(await asyncio.to_thread(self._ends, topic))
        except KafkaException:
            return False

    def _ends(self, topic: str) -> list[int]:
        every = [TopicPartition(topic, partition) for partition in range(self._settings.events_partitions)]
        return [self._reader.get_watermark_offsets(partition, timeout=WITHIN_S)[1] for partition in every]
