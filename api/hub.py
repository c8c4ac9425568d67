"""Wakes requests that wait for news of an owner. A hint is only a wake-up: what is new is read from the database."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from gengui_stream.redis_io.hints import EVERYBODY, HintSubscriber, owner_channel

POLL_S: Final = 2.0
"""How long a lost hint can delay what a reader sees."""


class Hub:
    """One subscription of Redis a process, fanned out to the requests that wait."""

    def __init__(self, subscriber: HintSubscriber) -> None:
        self._subscriber = subscriber
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = asyncio.Event()

    async def run(self) -> None:
        async for channel, _ in self._subscriber.messages():
            self._wake(self._waiting if channel == EVERYBODY else [channel])

    def close(self) -> None:
        """Tells every waiting request that the process ends."""
        self.closing.set()
        self._wake(self._waiting)

    def _wake(self, channels: object) -> None:
        for channel in list(channels) if isinstance(channels, list | dict) else []:
            for event in self._waiting.get(channel, ()):
                event.set()

    @contextmanager
    def listening(self, owner_id: UUID) -> Iterator["Bell"]:
        """Listens before the first look, so that nothing between the two is missed."""
        channel, event = owner_channel(owner_id), asyncio.Event()
        self._waiting[channel].add(event)
        subscribing = asyncio.ensure_future(self._subscriber.subscribe(channel))
        try:
            yield Bell(event)
        finally:
            subscribing.add_done_callback(lambda _: self._leave(channel, event))

    def _leave(self, channel: str, event: asyncio.Event) -> None:
        self._waiting[channel].discard(event)
        if not self._waiting[channel]:
            del self._waiting[channel]
            self._unsubscribing = asyncio.ensure_future(self._subscriber.unsubscribe(channel))


class Bell:
    """Rings when there may be news, and now and then anyway."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def ring(self, seconds: float = POLL_S) -> None:
        """Returns at a hint, or after so long."""
        try:
            async with asyncio.timeout(min(seconds, POLL_S)):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
