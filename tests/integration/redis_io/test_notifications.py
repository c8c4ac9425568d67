"""Notifications: delivered, never blocking, and no loss goes unnoticed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
import uvloop
from asyncpg.pgproto import pgproto
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection

from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.notification_buffer import opened_buffer
from gengui_stream.redis_io.notifications import (
    ALL_CHANNELS,
    ChangeNotification,
    Notice,
    NotificationPublisher,
    NotificationSubscriber,
    jobs_channel,
    owner_channel,
)
from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S, eventually, private_redis

pytestmark = pytest.mark.stack


@asynccontextmanager
async def hearing(subscriber: NotificationSubscriber) -> AsyncIterator[list[Notice]]:
    heard: list[Notice] = []

    async def listen() -> None:
        async for notice in subscriber.messages():
            heard.extend([notice])

    task = asyncio.ensure_future(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})


def _connection_of(subscriber: NotificationSubscriber) -> AbstractConnection:
    assert subscriber._session is not None
    return cast(AbstractConnection, subscriber._session.connection)


async def _is_closed(connection: AbstractConnection) -> bool:
    assert connection._writer is not None
    try:
        connection._writer.transport.write(b"PING\r\n")
    except RuntimeError:
        return True
    return False


async def _subscribed_on_a_dead_connection(settings: Settings, folder: Path) -> None:
    async with private_redis(folder) as server:
        await server.start()
        async with NotificationSubscriber(server.settings(settings)) as subscriber:
            messages = subscriber.messages()
            await subscriber.subscribe("before")
            assert await asyncio.wait_for(anext(messages), DEADLINE_S) == ("before", None)
            await server.kill()
            connection = _connection_of(subscriber)

            await eventually(partial(_is_closed, connection))
            await subscriber.subscribe("x")
            await subscriber.unsubscribe("x")


def test_a_subscription_on_a_connection_that_uvloop_has_closed_is_made_after_the_reconnect(
    settings: Settings, tmp_path: Path
) -> None:
    """The roles run on uvloop, where a write to a closed connection is a RuntimeError. The reader of the messages has
    not seen the end of the connection yet."""
    uvloop.run(_subscribed_on_a_dead_connection(settings, tmp_path))


@asynccontextmanager
async def heard_on(settings: Settings, channel: str) -> AsyncIterator[tuple[Redis, list[Notice]]]:
    """Redis, and what a subscriber to this channel receives once its subscription is in force."""
    async with (
        opened_client(settings) as redis,
        NotificationSubscriber(settings) as subscriber,
        hearing(subscriber) as heard,
    ):
        await subscriber.subscribe(channel)
        await eventually(lambda: contains(heard, (channel, None)))
        yield redis, heard


async def contains(heard: list[Notice], notice: Notice) -> bool:
    return notice in heard


async def test_only_what_was_subscribed_to_is_heard(settings: Settings) -> None:
    mine, other = (ChangeNotification(uuid4(), uuid4(), 1, offset) for offset in (7, 8))
    async with (
        opened_client(settings) as redis,
        NotificationSubscriber(settings) as subscriber,
        hearing(subscriber) as heard,
    ):
        await subscriber.subscribe(owner_channel(mine.owner_id))
        await subscriber.subscribe(jobs_channel("dispatch"))
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))  # in force
        heard.clear()
        earlier = ChangeNotification(mine.owner_id, mine.generation_id, 1, 6)
        await NotificationPublisher(shared(redis)).publish([earlier, mine, other], ["dispatch", "thumbnail"])
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))
        assert heard == [(owner_channel(mine.owner_id), mine), (jobs_channel("dispatch"), None)]

        await subscriber.unsubscribe(owner_channel(mine.owner_id))
        heard.clear()
        await NotificationPublisher(shared(redis)).publish([mine], ["dispatch"])
        await eventually(lambda: contains(heard, (jobs_channel("dispatch"), None)))
        assert heard == [(jobs_channel("dispatch"), None)]


async def test_ids_may_be_such_as_the_database_gives(settings: Settings) -> None:
    owner_id, generation_id = uuid4(), uuid4()
    from_database = ChangeNotification(pgproto.UUID(owner_id.bytes), pgproto.UUID(generation_id.bytes), 1, 7)
    channel = owner_channel(owner_id)
    async with heard_on(settings, channel) as (redis, heard):
        await NotificationPublisher(shared(redis)).publish([from_database], [])
        await eventually(lambda: contains(heard, (channel, ChangeNotification(owner_id, generation_id, 1, 7))))


async def test_an_outbox_says_the_last_of_each_generation_and_what_is_left_at_the_end(settings: Settings) -> None:
    owner_id, generation_id = uuid4(), uuid4()
    channel = owner_channel(owner_id)
    notifications = [ChangeNotification(owner_id, generation_id, 1, offset) for offset in range(5)]
    async with heard_on(settings, channel) as (redis, heard):
        heard.clear()
        async with opened_buffer(NotificationPublisher(shared(redis))) as buffer:
            for notification in notifications[:4]:
                buffer.add([notification], [])
            await eventually(lambda: contains(heard, (channel, notifications[3])))
            buffer.add(notifications[4:], [])
        await eventually(lambda: contains(heard, (channel, notifications[4])))
        assert heard == [(channel, notifications[3]), (channel, notifications[4])]


async def test_who_fills_an_outbox_never_waits_for_redis(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server, opened_client(server.settings(settings)) as redis:
        async with opened_buffer(NotificationPublisher(shared(redis))) as buffer:  # there is no server
            for offset in range(1_000):
                buffer.add([ChangeNotification(uuid4(), uuid4(), 0, offset)], ["dispatch"])
            await server.start()
        async with NotificationSubscriber(server.settings(settings)) as subscriber, hearing(subscriber) as heard:
            notification = ChangeNotification(uuid4(), uuid4(), 0, 1)
            await subscriber.subscribe(owner_channel(notification.owner_id))
            async with opened_buffer(NotificationPublisher(shared(redis))) as buffer:

                async def said() -> bool:
                    buffer.add([notification], [])
                    return (owner_channel(notification.owner_id), notification) in heard

                await eventually(said)


async def test_an_invalid_notification_is_a_reason_to_read(settings: Settings) -> None:
    channel = owner_channel(uuid4())
    async with heard_on(settings, channel) as (redis, heard):
        for payload in ("", "{}", "[]", "null", '{"generation_id": 1, "partition": 0, "offset": 0}', b"\xff"):
            heard.clear()
            await redis.publish(channel, payload)
            await eventually(lambda: contains(heard, (channel, None)))


async def test_a_restart_of_redis_wakes_every_subscriber(settings: Settings, tmp_path: Path) -> None:
    notification = ChangeNotification(uuid4(), uuid4(), 0, 1)
    channel = owner_channel(notification.owner_id)
    async with private_redis(tmp_path) as server:
        alone = server.settings(settings)
        async with (
            NotificationSubscriber(alone) as subscriber,
            hearing(subscriber) as heard,
            opened_client(alone) as redis,
        ):
            await subscriber.subscribe(channel)  # before there is a server
            await server.start()
            await eventually(lambda: contains(heard, (channel, None)))
            publisher = NotificationPublisher(shared(redis))
            for _ in range(2):
                heard.clear()
                await server.kill()
                async with asyncio.timeout(10):  # it neither raises nor waits until there is a server again
                    await publisher.publish([notification], [])
                await server.start()
                await eventually(lambda: contains(heard, (ALL_CHANNELS, None)))
                await eventually(lambda: contains(heard, (channel, None)))

                async def said() -> bool:
                    await publisher.publish([notification], [])
                    return (channel, notification) in heard

                await eventually(said)


async def test_one_subscription_that_fails_is_not_the_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first SUBSCRIBE of a connection fails in transit; the client has no other connection."""
    subscribe, failures = PubSub.subscribe, iter([exceptions.ConnectionError("reset by peer")])

    async def failing_once(session: PubSub, *channels: str) -> None:
        await subscribe(session, *channels)
        if (error := next(failures, None)) is not None:
            raise error

    monkeypatch.setattr(PubSub, "subscribe", failing_once)
    mine = ChangeNotification(uuid4(), uuid4(), 1, 7)
    channel = owner_channel(mine.owner_id)
    async with (
        opened_client(settings) as redis,
        NotificationSubscriber(settings) as subscriber,
        hearing(subscriber) as heard,
    ):
        await subscriber.subscribe(channel)
        await eventually(lambda: contains(heard, (channel, None)))
        await NotificationPublisher(shared(redis)).publish([mine], [])
        await eventually(lambda: contains(heard, (channel, mine)))
