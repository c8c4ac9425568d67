"""Hints on their way out: whoever commits does not wait for Redis, and what comes meanwhile goes out together."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from gengui_stream.redis_io.hints import Hint, HintPublisher


class HintOutbox:
    """Of several hints for one generation the last is said. It holds what was added within one call of `publish`,
    which has a time-out."""

    def __init__(self, publisher: HintPublisher) -> None:
        self._publisher = publisher
        self._hints: dict[UUID, Hint] = {}
        self._kinds: set[str] = set()
        self._filled = asyncio.Event()
        self._publishing: asyncio.Future[None] | None = None

    def add(self, hints: Sequence[Hint], job_kinds: Collection[str]) -> None:
        """Raises what ended the publishing, if anything did."""
        if self._publishing is not None and self._publishing.done():
            self._publishing.result()
        self._hints.update((hint.generation_id, hint) for hint in hints)
        self._kinds.update(job_kinds)
        self._filled.set()

    async def publish(self) -> None:
        """All there is."""
        hints, kinds = list(self._hints.values()), set(self._kinds)
        self._hints.clear()
        self._kinds.clear()
        self._filled.clear()
        await self._publisher.publish(hints, kinds)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Meanwhile; and what is left at the end."""
        self._publishing = asyncio.ensure_future(self._publish_for_ever())
        try:
            yield
        finally:
            self._publishing.cancel()
            self._publishing = None
            await self.publish()

    async def _publish_for_ever(self) -> None:
        while True:
            await self._filled.wait()
            await self.publish()


@asynccontextmanager
async def opened_outbox(publisher: HintPublisher) -> AsyncIterator[HintOutbox]:
    outbox = HintOutbox(publisher)
    async with outbox.publishing():
        yield outbox
