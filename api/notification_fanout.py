"""Change notifications wake the requests of their owner, which then read PostgreSQL: they carry no state."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from gengui_stream.redis_io.notifications import ALL_CHANNELS, NotificationSubscriber, owner_channel

POLL_S: Final = 2.0
"""Seconds that a lost notification can delay what a reader sees."""


class NotificationFanout:
    """One Redis subscription a process, shared by its waiting requests."""

    def __init__(self, subscriber: NotificationSubscriber) -> None:
        self._subscriber = subscriber
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = asyncio.Event()

    async def run(self) -> None:
        async for channel, _ in self._subscriber.messages():
            self._wake(self._waiting if channel == ALL_CHANNELS else [channel])

    def close(self) -> None:
        """The process ends: wakes every waiting request."""
        self.closing.set()
        self._wake(self._waiting)

    def _wake(self, channels: object) -> None:
        for channel in list(channels) if isinstance(channels, list | dict) else []:
            for event in self._waiting.get(channel, ()):
                event.set()

    @contextmanager
    def subscribed(self, owner_id: UUID) -> Iterator["Subscription"]:
        """Subscribe before the first read, so that no change between the two is missed."""
        channel, event = owner_channel(owner_id), asyncio.Event()
        self._waiting[channel].add(event)
        subscribing = asyncio.ensure_future(self._subscriber.subscribe(channel))
        try:
            yield Subscription(event)
        finally:
            subscribing.add_done_callback(lambda _: self._leave(channel, event))

    def _leave(self, channel: str, event: asyncio.Event) -> None:
        self._waiting[channel].discard(event)
        if not self._waiting[channel]:
            del self._waiting[channel]
            self._unsubscribing = asyncio.ensure_future(self._subscriber.unsubscribe(channel))


class Subscription:
    """Wakes when there may be news, and at intervals in case a notification was lost."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float = POLL_S) -> None:
        """Returns at a notification, or after so many seconds, at most POLL_S."""
        try:
            async with asyncio.timeout(min(seconds, POLL_S)):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
