"""Buffers notifications, so that a commit does not wait for Redis; those added meanwhile are sent together."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from gengui_stream.process.background import background_task
from gengui_stream.redis_io.notifications import ChangeNotification, NotificationPublisher


class NotificationBuffer:
    """Keeps the last notification of each generation. It holds what was added during one call of `publish`, which has a
    time-out."""

    def __init__(self, publisher: NotificationPublisher) -> None:
        self._publisher = publisher
        self._notifications: dict[UUID, ChangeNotification] = {}
        self._kinds: set[str] = set()
        self._filled = asyncio.Event()

    def add(self, notifications: Sequence[ChangeNotification], job_kinds: Collection[str]) -> None:
        self._notifications.update((notification.generation_id, notification) for notification in notifications)
        self._kinds.update(job_kinds)
        self._filled.set()

    async def publish(self) -> None:
        """Publishes everything in the buffer."""
        notifications, kinds = list(self._notifications.values()), set(self._kinds)
        self._notifications.clear()
        self._kinds.clear()
        self._filled.clear()
        await self._publisher.publish(notifications, kinds)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publishes in the background while the block runs, and the rest at its end."""
        try:
            async with background_task(self._publish_until_closed):
                yield
        finally:
            await self.publish()

    async def _publish_until_closed(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await self._filled.wait()
            await self.publish()


@asynccontextmanager
async def opened_buffer(publisher: NotificationPublisher) -> AsyncIterator[NotificationBuffer]:
    buffer = NotificationBuffer(publisher)
    async with buffer.publishing():
        yield buffer
