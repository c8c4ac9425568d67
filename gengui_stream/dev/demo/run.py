"""Submits generations, and follows them over the live stream until each has ended and has its thumbnail."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from gengui_stream.dev.demo.client import Arrival, DemoClient
from gengui_stream.dev.demo.prompts import request_bodies

AT_ONCE: Final = 8
"""The maximum of concurrent requests."""

SILENCE_MAX_S: Final = 60.0
"""Without any event for this long, the run ends."""

GIVEN_UP: Final = frozenset({"failed", "canceled", "timed_out", "moderated"})
THUMBNAIL_OUTCOMES: Final = frozenset({"thumbnail.created", "thumbnail.failed"})


@dataclass
class Tracked:
    """The state of one generation here; times are of the monotonic clock."""

    prompt: str = ""
    status: str = "queued"
    percent: float = 0.0
    submitted_at: float | None = None
    completed_at: float | None = None
    thumbnail: str | None = None

    @property
    def settled(self) -> bool:
        ended = self.status in GIVEN_UP or (self.completed_at is not None and self.thumbnail is not None)
        return ended and self.submitted_at is not None


@dataclass
class DemoRun:
    """All generations. `delays_ms`: for each event, from its time on the log to its arrival on the live stream."""

    count: int
    changed: Callable[[UUID, Tracked], None]
    generations: dict[UUID, Tracked] = field(default_factory=dict)
    done: set[UUID] = field(default_factory=set)
    delays_ms: list[float] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settled(self) -> bool:
        return len(self.done) == self.count

    def submitted(self, generation_id: UUID, began: float) -> None:
        self._of(generation_id).submitted_at = began
        self._noticed(generation_id)

    def take(self, arrival: Arrival) -> None:
        event, one = arrival.event, self._of(arrival.event.generation_id)
        self.delays_ms.append((arrival.at - event.appended_at).total_seconds() * 1000)
        if event.ignored is None:
            one.status = event.status or one.status
            percent, prompt = event.event.get("percent"), event.event.get("prompt")
            one.percent = float(percent) if isinstance(percent, int | float) else one.percent
            one.prompt = prompt if isinstance(prompt, str) else one.prompt
            if event.type == "generation.completed":
                one.completed_at, one.percent = arrival.clock, 100.0
            if event.type in THUMBNAIL_OUTCOMES:
                one.thumbnail = event.type
        self._noticed(event.generation_id)

    def _of(self, generation_id: UUID) -> Tracked:
        """An event may arrive before the response of its request; the first of them creates the entry."""
        return self.generations.setdefault(generation_id, Tracked())

    def _noticed(self, generation_id: UUID) -> None:
        one = self.generations[generation_id]
        if one.settled:
            self.done.add(generation_id)
        self.changed(generation_id, one)
        self.news.set()

    def submit_to_completed_ms(self) -> list[float]:
        return [
            (one.completed_at - one.submitted_at) * 1000
            for one in self.generations.values()
            if one.completed_at is not None and one.submitted_at is not None
        ]

    def unsettled(self) -> Sequence[tuple[UUID, Tracked]]:
        return [(generation_id, one) for generation_id, one in self.generations.items() if not one.settled]


async def make_generations(client: DemoClient, run: DemoRun) -> None:
    """Returns when all are settled, or after SILENCE_S without an event."""
    try:
        async with client.stream() as arrivals, asyncio.TaskGroup() as group:
            listening = group.create_task(_listen(arrivals, run))
            group.create_task(_submit(client, run))
            await _until_settled(run)
            listening.cancel()
    except ExceptionGroup as errors:
        raise _first(errors) from errors


def _first(errors: BaseException) -> BaseException:
    """One failure cancels the others; the first is raised."""
    return _first(errors.exceptions[0]) if isinstance(errors, BaseExceptionGroup) else errors


async def _submit(client: DemoClient, run: DemoRun) -> None:
    wanted = request_bodies()
    numbers = iter(range(run.count))

    async def one_after_another() -> None:
        for _ in numbers:
            began = time.monotonic()
            run.submitted(await client.create(next(wanted)), began)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, run.count)):
            group.create_task(one_after_another())


async def _listen(arrivals: AsyncIterator[Arrival], run: DemoRun) -> None:
    async for arrival in arrivals:
        run.take(arrival)


async def _until_settled(run: DemoRun) -> None:
    with suppress(TimeoutError):
        while not run.settled:
            run.news.clear()
            async with asyncio.timeout(SILENCE_MAX_S):
                await run.news.wait()
