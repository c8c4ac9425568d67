"""Notifications over pub/sub that a generation has changed. They carry no state: readers ask PostgreSQL (law 7)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gengui_stream.errors import TransientError
from gengui_stream.redis_io.clients import client_of, open_dedicated, transient_errors
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings

ALL_CHANNELS: Final = "*"
"""Stands for every channel: notifications on any of them may have been lost."""

PUBLISH_TIMEOUT_S: Final = 0.5
PUBLISH_PAUSE_S: Final = 1.0
"""Seconds without publishing after a failure: a late notification is useless, and waiting delays the projector."""

FIRST_RETRY_S: Final = 0.05
LONGEST_RETRY_S: Final = 2.0

PUBLISH_ALL: Final = """
for channel, body in string.gmatch(ARGV[1], '([^\\n]*)\\n([^\\n]*)\\n') do redis.call('PUBLISH', channel, body) end
"""
"""One command for a batch: a pipeline of publishes costs the projector 25 µs of CPU each. One argument with two lines
for each notification, because the client encodes each argument separately."""

_OWNER_PREFIX: Final = "gengui:owner:"
_ALL_CHANNEL: Final = "gengui:all"
"""Every subscriber subscribes to it, so that its connection always has a subscription."""

_log = structlog.get_logger(__name__)


class ChangeNotification(NamedTuple):
    """A generation of this owner changed at this position of the log."""

    owner_id: UUID
    generation_id: UUID
    partition: int
    offset: int


class AttemptNotification(NamedTuple):
    """A provider's webhook reported news of this attempt."""

    generation_id: UUID
    attempt: int


Notification: TypeAlias = ChangeNotification | AttemptNotification

Notice: TypeAlias = tuple[str, Notification | None]
"""A channel and its notification; None: jobs are due, or notifications may have been lost, so read the state."""


@lru_cache(1_024)
def owner_channel(owner_id: UUID) -> str:
    return f"{_OWNER_PREFIX}{owner_id}"


def jobs_channel(kind: str) -> str:
    return f"gengui:jobs:{kind}"


class NotificationPublisher:
    """Publishes after a commit. Never raises, and takes at most PUBLISH_TIMEOUT_S."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = client_of(redis)
        self._paused_until = 0.0
        self._failing = False

    async def publish(self, notifications: Sequence[ChangeNotification], job_kinds: Collection[str]) -> None:
        """One round trip; of several notifications of one generation only the last is sent."""
        if time.monotonic() < self._paused_until or not (notifications or job_kinds):
            return
        latest = {notification.generation_id: notification for notification in notifications}
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._send(latest, job_kinds)
        except (TransientError, RedisError, TimeoutError) as error:
            self._gave_up(error)
        else:
            self._failing = False

    async def publish_access(self, user_id: UUID) -> None:
        """What this user's keys and sessions allow has changed: open event streams check theirs at once, and not within
        POLL_S."""
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                with transient_errors():
                    await self._redis.publish(owner_channel(user_id), "")
        except (TransientError, RedisError, TimeoutError) as error:
            self._gave_up(error)

    async def publish_attempt(self, attempt: AttemptNotification) -> None:
        """To the processes that reconcile."""
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                with transient_errors():
                    await self._redis.publish(jobs_channel("reconcile"), f"{attempt.generation_id}:{attempt.attempt}")
        except (TransientError, RedisError, TimeoutError) as error:
            self._gave_up(error)

    async def _send(self, notifications: Mapping[UUID, ChangeNotification], job_kinds: Collection[str]) -> None:
        lines: list[str] = []
        for notification in notifications.values():
            lines += (owner_channel(notification.owner_id), _payload(notification))
        for kind in sorted(set(job_kinds)):
            lines += (jobs_channel(kind), "")
        with transient_errors():
            await self._redis.eval(PUBLISH_ALL, 0, "\n".join((*lines, "")))

    def _gave_up(self, error: Exception) -> None:
        self._paused_until = time.monotonic() + PUBLISH_PAUSE_S
        if not self._failing:
            _log.warning("notifications_not_published", error=repr(error))
        self._failing = True


class NotificationSubscriber:
    """Subscribes on its own connection and reconnects. One task iterates `messages`; any task may subscribe.

    No loss goes unnoticed: each channel yields None once its subscription is confirmed (again), and ALL_CHANNELS
    follows each reconnect. A reader that subscribes first, and reads PostgreSQL at each None, misses no change.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels = {_ALL_CHANNEL}
        self._redis: Redis | None = None
        self._session: PubSub | None = None

    async def __aenter__(self) -> Self:
        self._redis = open_dedicated(self._settings, answer_timeout=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_session()
        if self._redis is not None:
            redis, self._redis = self._redis, None
            await redis.aclose()

    async def subscribe(self, channel: str) -> None:
        """Subscribes now and after every reconnect; returns before the server has confirmed it."""
        self._channels.add(channel)
        if self._session is not None:
            with suppress(TransientError), transient_errors():  # `messages` raises it as well, and reconnects
                await self._session.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        self._channels.discard(channel)
        if self._session is not None:
            with suppress(TransientError), transient_errors():
                await self._session.unsubscribe(channel)

    async def messages(self) -> AsyncIterator[Notice]:
        """Yields without end, until the subscriber is closed."""
        retry_s, connected_before = FIRST_RETRY_S, False
        while self._redis is not None:
            try:
                session = await self._begin_session(self._redis)
                retry_s = FIRST_RETRY_S
                if connected_before:
                    yield ALL_CHANNELS, None
                connected_before = True
                while True:
                    if (notice := await _next(session)) is not None:
                        yield notice
            except TransientError as error:
                _log.warning("notifications_interrupted", error=str(error), retry_in_s=retry_s)
            await self._end_session()
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _begin_session(self, redis: Redis) -> PubSub:
        session = redis.pubsub()
        try:
            with transient_errors():
                await session.subscribe(*self._channels)
        except BaseException:  # it would hold the client's only connection
            await _closed(session)
            raise
        self._session = session
        await self._subscribe_latecomers(session)
        return session

    async def _subscribe_latecomers(self, session: PubSub) -> None:
        """Channels that were added while the first subscriptions were being sent."""
        missing = self._channels - {str(channel) for channel in session.channels}
        if missing:
            with transient_errors():
                await session.subscribe(*missing)

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await _closed(session)


async def _closed(session: PubSub) -> None:
    close: Callable[[], Awaitable[None]] = session.aclose
    with suppress(RedisError, OSError):
        await close()


async def _next(session: PubSub) -> Notice | None:
    """The next notice; None for any other message."""
    with transient_errors():
        message: Mapping[str, object] | None = await session.get_message(timeout=None)
    if message is None:
        return None
    channel = str(message["channel"])
    if channel == _ALL_CHANNEL:
        return (ALL_CHANNELS, None) if message["type"] == "message" else None
    match message["type"]:
        case "subscribe":
            return channel, None
        case "message":
            return channel, _parse(channel, str(message["data"]))
        case _:
            return None


def _payload(notification: ChangeNotification) -> str:
    """One line of JSON. `default`: orjson does not serialize asyncpg's UUID class."""
    fields = {
        "generation_id": notification.generation_id,
        "partition": notification.partition,
        "offset": notification.offset,
    }
    return orjson.dumps(fields, default=str).decode()


def _parse(channel: str, payload: str) -> Notification | None:
    """None for an invalid payload, which still is a reason to read the state."""
    if not payload:
        return None
    try:
        if not channel.startswith(_OWNER_PREFIX):
            generation_id, attempt = payload.split(":")
            return AttemptNotification(UUID(generation_id), int(attempt))
        fields = orjson.loads(payload)
        owner_id = UUID(channel.removeprefix(_OWNER_PREFIX))
        return ChangeNotification(
            owner_id, UUID(fields["generation_id"]), int(fields["partition"]), int(fields["offset"])
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
