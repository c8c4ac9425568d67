"""Hints: heard, never in the way, and never missed in silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from asyncpg.pgproto import pgproto

from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.redis_io.hint_outbox import opened_outbox
from gengui_stream.redis_io.hints import (
    EVERYBODY,
    Hint,
    HintPublisher,
    HintSubscriber,
    Notice,
    jobs_channel,
    owner_channel,
)
from gengui_stream.settings import Settings
from tests.integration.running import eventually, private_redis

pytestmark = pytest.mark.stack


@asynccontextmanager
async def hearing(subscriber: HintSubscriber) -> AsyncIterator[list[Notice]]:
    heard: list[Notice] = []

    async def listen() -> None:
        async for notice in subscriber.messages():
            heard.append(notice)  # noqa: PERF401 - read by the test meanwhile

    task = asyncio.ensure_future(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})


async def contains(heard: list[Notice], notice: Notice) -> bool:
    return notice in heard


async def test_only_what_was_subscribed_to_is_heard(settings: Settings) -> None:
    mine, other = (Hint(uuid4(), uuid4(), 1, offset) for offset in (7, 8))
    async with opened_redis(settings) as redis, HintSubscriber(settings) as subscriber, hearing(subscriber) as heard:
        await subscriber.subscribe(owner_channel(mine.owner_id))
        await subscriber.subscribe(jobs_channel("dispatch"))
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))  # in force
        heard.clear()
        earlier = Hint(mine.owner_id, mine.generation_id, 1, 6)
        await HintPublisher(redis).publish([earlier, mine, other], ["dispatch", "thumbnail"])
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))
        assert heard == [(owner_channel(mine.owner_id), mine), (jobs_channel("dispatch"), None)]

        await subscriber.unsubscribe(owner_channel(mine.owner_id))
        heard.clear()
        await HintPublisher(redis).publish([mine], ["dispatch"])
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))
        assert heard == [(jobs_channel("dispatch"), None)]


async def test_ids_may_be_such_as_the_database_gives(settings: Settings) -> None:
    owner_id, generation_id = uuid4(), uuid4()
    from_database = Hint(pgproto.UUID(owner_id.bytes), pgproto.UUID(generation_id.bytes), 1, 7)
    channel = owner_channel(owner_id)
    async with opened_redis(settings) as redis, HintSubscriber(settings) as subscriber, hearing(subscriber) as heard:
        await subscriber.subscribe(channel)
        await eventually(lambda: contains(heard, (channel, None)))  # in force
        await HintPublisher(redis).publish([from_database], [])
        await eventually(lambda: contains(heard, (channel, Hint(owner_id, generation_id, 1, 7))))


async def test_an_outbox_says_the_last_of_each_generation_and_what_is_left_at_the_end(settings: Settings) -> None:
    owner_id, generation_id = uuid4(), uuid4()
    channel = owner_channel(owner_id)
    hints = [Hint(owner_id, generation_id, 1, offset) for offset in range(5)]
    async with opened_redis(settings) as redis, HintSubscriber(settings) as subscriber, hearing(subscriber) as heard:
        await subscriber.subscribe(channel)
        await eventually(lambda: contains(heard, (channel, None)))  # in force
        heard.clear()
        async with opened_outbox(HintPublisher(redis)) as outbox:
            for hint in hints[:4]:
                outbox.add([hint], [])
            await eventually(lambda: contains(heard, (channel, hints[3])))
            outbox.add(hints[4:], [])
        await eventually(lambda: contains(heard, (channel, hints[4])))
        assert heard == [(channel, hints[3]), (channel, hints[4])]


async def test_who_fills_an_outbox_never_waits_for_redis(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server, opened_redis(server.settings(settings)) as redis:
        async with opened_outbox(HintPublisher(redis)) as outbox:  # there is no server
            for offset in range(1_000):
                outbox.add([Hint(uuid4(), uuid4(), 0, offset)], ["dispatch"])
            await server.start()
        async with HintSubscriber(server.settings(settings)) as subscriber, hearing(subscriber) as heard:
            hint = Hint(uuid4(), uuid4(), 0, 1)
            await subscriber.subscribe(owner_channel(hint.owner_id))
            async with opened_outbox(HintPublisher(redis)) as outbox:

                async def said() -> bool:
                    outbox.add([hint], [])
                    return (owner_channel(hint.owner_id), hint) in heard

                await eventually(said)


async def test_an_unreadable_hint_is_a_reason_to_look(settings: Settings) -> None:
    channel = owner_channel(uuid4())
    async with opened_redis(settings) as redis, HintSubscriber(settings) as subscriber, hearing(subscriber) as heard:
        await subscriber.subscribe(channel)
        await eventually(lambda: contains(heard, (channel, None)))
        for payload in ("", "{}", "[]", "null", '{"generation_id": 1, "partition": 0, "offset": 0}', b"\xff"):
            heard.clear()
            await redis.publish(channel, payload)
            await eventually(lambda: contains(heard, (channel, None)))


async def test_a_restart_of_redis_wakes_everybody(settings: Settings, tmp_path: Path) -> None:
    hint = Hint(uuid4(), uuid4(), 0, 1)
    channel = owner_channel(hint.owner_id)
    async with private_redis(tmp_path) as server:
        alone = server.settings(settings)
        async with HintSubscriber(alone) as subscriber, hearing(subscriber) as heard, opened_redis(alone) as redis:
            await subscriber.subscribe(channel)  # before there is a server
            await server.start()
            await eventually(lambda: contains(heard, (channel, None)))
            publisher = HintPublisher(redis)
            for _ in range(2):
                heard.clear()
                await server.kill()
                async with asyncio.timeout(10):  # it neither raises nor waits until there is a server again
                    await publisher.publish([hint], [])
                await server.start()
                await eventually(lambda: contains(heard, (EVERYBODY, None)))
                await eventually(lambda: contains(heard, (channel, None)))

                async def said() -> bool:
                    await publisher.publish([hint], [])
                    return (channel, hint) in heard

                await eventually(said)
