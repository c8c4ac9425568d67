"""Change notifications wake the requests that wait for their owner's data, which then read PostgreSQL."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from gengui_stream.process.background import background_task
from gengui_stream.redis_io.notifications import (
    ALL_CHANNELS,
    Notification,
    NotificationSubscriber,
    owner_channel,
)

POLL_S: Final = 2.0
"""The longest delay that a lost notification can cause."""


class Subscription:
    """Wakes on a notification of its generation (of any of the owner's where that is None), and at intervals in case
    one was lost."""

    def __init__(self, generation_id: UUID | None) -> None:
        self.generation_id = generation_id
        self._event = asyncio.Event()

    @property
    def woken(self) -> bool:
        """Whether the next `wait` returns at once."""
        return self._event.is_set()

    def wake(self) -> None:
        self._event.set()

    def concerns(self, notification: Notification | None) -> bool:
        """`notification` is None when some may have been lost."""
        return notification is None or self.generation_id in {None, notification.generation_id}

    async def wait(self, seconds: float = POLL_S) -> None:
        """Returns at a notification, or after `seconds`, at most POLL_S."""
        try:
            async with asyncio.timeout(min(seconds, POLL_S)):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class NotificationFanout:
    """One Redis subscription a process, shared by its waiting requests."""

    def __init__(self, subscriber: NotificationSubscriber) -> None:
        self._subscriber = subscriber
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self.closing = asyncio.Event()

    async def run(self) -> None:
        """Without end. An error ends the process."""
        async with background_task(self._follow_changes):
            async for channel, notification in self._subscriber.messages():
                for name in list(self._subscriptions) if channel == ALL_CHANNELS else [channel]:
                    self._wake(name, notification)

    async def _follow_changes(self, ended: asyncio.Event) -> None:
        """Subscribes to channels and unsubscribes, in the order of the requests that need them. Whether a channel is
        needed may have changed since it was queued."""
        while not ended.is_set():
            channel = await self._changed.get()
            if channel in self._subscriptions:
                await self._subscriber.subscribe(channel)
            else:
                await self._subscriber.unsubscribe(channel)

    def close(self) -> None:
        """The process stops: wakes every waiting request."""
        self.closing.set()
        for channel in list(self._subscriptions):
            self._wake(channel, None)

    def _wake(self, channel: str, notification: Notification | None) -> None:
        for subscription in self._subscriptions.get(channel, ()):
            if subscription.concerns(notification):
                subscription.wake()

    @contextmanager
    def subscribed(self, owner_id: UUID, generation_id: UUID | None = None) -> Iterator[Subscription]:
        """Subscribe before the first read, so that no change between the two is missed."""
        channel, subscription = owner_channel(owner_id), Subscription(generation_id)
        if self._subscriptions[channel]:
            subscription.wake()  # the others of the channel sleep on
        else:
            self._changed.put_nowait(channel)
        self._subscriptions[channel].add(subscription)
        try:
            yield subscription
        finally:
            self._leave(channel, subscription)

    def _leave(self, channel: str, subscription: Subscription) -> None:
        self._subscriptions[channel].discard(subscription)
        if not self._subscriptions[channel]:
            del self._subscriptions[channel]
            self._changed.put_nowait(channel)
