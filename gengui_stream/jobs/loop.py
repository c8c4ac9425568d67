"""Working through the jobs of one kind: claim what there is, keep the leases, do no more at once than fits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import structlog

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.errors import TransientError
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.lifecycle import Stopped, persist
from gengui_stream.redis_io.hints import EVERYBODY, HintSubscriber, jobs_channel
from gengui_stream.settings import Settings

POLL_S: Final = 1.0
"""Jobs that nobody hints at (a back-off is over, a lease has run out) wait at most so long."""

BATCH: Final = 200
IN_FLIGHT_MAX: Final = 1_000

Work: TypeAlias = Callable[[Sequence[ClaimedJob]], Awaitable[None]]

_log = structlog.get_logger(__name__)


async def work_through(
    queue: JobQueue,
    work: Work,
    stop: asyncio.Event,
    *,
    ready: asyncio.Event,
    lease_s: float,
    batch: int = BATCH,
    in_flight_max: int = IN_FLIGHT_MAX,
) -> None:
    """Claims batches and works on several at once until told to stop; then what is begun is finished.

    `ready` is set by whoever knows of new jobs. An error of `work` that is not passing ends the process.
    """
    in_flight = 0

    async def run(jobs: Sequence[ClaimedJob]) -> None:
        nonlocal in_flight
        try:
            async with kept(queue, [job.key for job in jobs], lease_s):
                with suppress(Stopped):
                    await work(jobs)
        finally:
            in_flight -= len(jobs)
            ready.set()

    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            ready.clear()
            jobs = await _claim(queue, min(batch, in_flight_max - in_flight), stop)
            if jobs:
                in_flight += len(jobs)
                group.create_task(run(jobs))
            else:
                await _either(ready, stop, POLL_S)


async def _claim(queue: JobQueue, limit: int, stop: asyncio.Event) -> list[ClaimedJob]:
    if limit <= 0:
        return []
    try:
        return await persist(partial(queue.claim, limit), stop, what="jobs")
    except Stopped:
        return []


async def _either(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@asynccontextmanager
async def kept(queue: JobQueue, keys: Collection[str], lease_s: float) -> AsyncIterator[None]:
    """The leases of these jobs are renewed meanwhile, so that they run out only when this process is gone."""
    renewing = asyncio.ensure_future(_renew(queue, keys, lease_s / 3))
    try:
        yield
    finally:
        renewing.cancel()


async def _renew(queue: JobQueue, keys: Collection[str], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await queue.renew(keys)
        except TransientError as error:
            _log.warning("leases_not_renewed", jobs=len(keys), error=str(error))


async def listen(settings: Settings, ready: Mapping[JobKind, asyncio.Event]) -> None:
    """Sets the event of a kind when its jobs are hinted at; all of them when hints may have been missed."""
    channels = {jobs_channel(kind): event for kind, event in ready.items()}
    async with HintSubscriber(settings) as subscriber:
        for channel in channels:
            await subscriber.subscribe(channel)
        async for channel, _ in subscriber.messages():
            for event in channels.values() if channel == EVERYBODY else [channels[channel]]:
                event.set()
