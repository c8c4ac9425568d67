"""What ADR 4 says of the embedded broker. A fault of its that is gone fails here: what works around it can go too."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.reader import open_reader
from gengui_stream.settings import Settings
from tests.integration.running import a_request

EMBEDDED: Final = not os.environ.get("GENGUI_TEST_KAFKA")
SESSION_S: Final = 16

pytestmark = pytest.mark.stack


@asynccontextmanager
async def opened(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def one_batch(settings: Settings, event_log: EventLog) -> tuple[TopicPartition, int]:
    """Several records appended at once to a new topic: where, and the end of that partition."""
    request = a_request()
    positions = await event_log.append_many([request] * 10)
    return TopicPartition(settings.events_topic, positions[-1].partition), positions[-1].offset + 1


async def test_the_end_of_a_partition_comes_with_a_fetch(settings: Settings, event_log: EventLog) -> None:
    at, end = await one_batch(settings, event_log)
    async with open_reader(settings) as reader:
        assert sum([len(records) async for records in reader.until_end()]) == end == 10
        assert reader.ends()[at.partition] == end


@pytest.mark.xfail(
    EMBEDDED,
    reason="Tansu 0.6.0: ListOffsets(latest) is the last batch's first offset + 1",
    raises=AssertionError,
    strict=True,
)
async def test_the_end_of_a_partition_is_known_without_a_fetch(settings: Settings, event_log: EventLog) -> None:
    at, end = await one_batch(settings, event_log)
    async with opened(AIOKafkaConsumer(**connection(settings))) as consumer:
        assert await consumer.end_offsets([at]) == {at: end}


@pytest.mark.xfail(
    EMBEDDED, reason="Tansu 0.6.0: JoinGroup waits for half of the session timeout", raises=TimeoutError, strict=True
)
async def test_who_joins_a_group_alone_waits_for_nobody(settings: Settings) -> None:
    group = settings.consumer_group
    member = AIOKafkaConsumer(
        settings.events_topic, **connection(settings), group_id=group, session_timeout_ms=SESSION_S * 1000
    )
    try:
        async with asyncio.timeout(SESSION_S * 0.4):
            await member.start()  # returns when it has joined
    finally:
        await member.stop()
