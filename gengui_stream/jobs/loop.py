"""The loop over the jobs of one kind: claim as many as can be started, and renew their leases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import structlog

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.errors import TransientError
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import ShutdownRequested, pause, retry_transient
from gengui_stream.redis_io.notifications import (
    ALL_CHANNELS,
    AttemptNotification,
    NotificationSubscriber,
    jobs_channel,
)
from gengui_stream.settings import Settings

POLL_S: Final = 1.0
"""Seconds between two claims without a notification: the end of a back-off or of a lease sends none."""

Claim: TypeAlias = Callable[[int], Awaitable[list[ClaimedJob]]]
"""Leases at most that many jobs, and no more than the process can start at once."""

Work: TypeAlias = Callable[[Sequence[ClaimedJob]], Awaitable[None]]

Expedite: TypeAlias = Callable[[UUID, int], Awaitable[None]]
"""Makes the `reconcile` job of an attempt due at once."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobHandler:
    """`batch`: the most jobs in one call of `work`. `in_flight_max`: the most jobs in progress. `poll_s`: returns the
    seconds until the next claim without a notification, if there was no job."""

    queue: JobQueue
    claim: Claim
    work: Work
    batch: int = 200
    in_flight_max: int = 1_000
    poll_s: Callable[[], float] = lambda: POLL_S


async def run_job_loops(
    settings: Settings,
    handlers: Mapping[JobKind, JobHandler],
    stop: asyncio.Event,
    expedite: "Expedite | None" = None,
) -> None:
    """A loop for each kind until `stop` is set, woken by notifications. `expedite`: as in `listen`."""
    ready: dict[JobKind, asyncio.Event] = {kind: asyncio.Event() for kind in handlers}
    async with asyncio.TaskGroup() as listeners:
        listening = listeners.create_task(listen(settings, ready, expedite))
        async with asyncio.TaskGroup() as group:
            for kind, handler in handlers.items():
                group.create_task(run_job_loop(handler, stop, ready=ready[kind], lease_s=settings.job_lease_s))
        listening.cancel()


async def run_job_loop(handler: JobHandler, stop: asyncio.Event, *, ready: asyncio.Event, lease_s: float) -> None:
    """Claims batches and works on several at once until `stop` is set, then finishes what it has claimed.

    `ready` triggers a claim before POLL_S has passed. An error of `work` other than ShutdownRequested ends the
    process. What is unfinished at a shutdown is released.
    """
    queue = handler.queue
    in_flight = 0

    async def run(jobs: Sequence[ClaimedJob]) -> None:
        nonlocal in_flight
        keys = [job.key for job in jobs]
        try:
            async with renewing_leases(queue, keys, lease_s):
                await handler.work(jobs)
        except ShutdownRequested:
            await _release(queue, keys)
        except asyncio.CancelledError:
            await _release(queue, keys)
            raise
        finally:
            in_flight -= len(jobs)
            ready.set()

    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            ready.clear()
            jobs = await _claim(handler.claim, min(handler.batch, handler.in_flight_max - in_flight), stop)
            if jobs:
                in_flight += len(jobs)
                group.create_task(run(jobs))
            else:
                await _either(ready, stop, handler.poll_s())


async def _release(queue: JobQueue, keys: Collection[str]) -> None:
    """Those of the jobs that are not finished. Otherwise they would be claimed once their leases have ended."""
    try:
        await queue.release(keys)
        _log.info("jobs_released", jobs=len(keys))
    except TransientError as error:
        _log.warning("jobs_not_released", jobs=len(keys), error=str(error))


async def _claim(claim: Claim, limit: int, stop: asyncio.Event) -> list[ClaimedJob]:
    if limit <= 0:
        return []
    try:
        return await retry_transient(partial(claim, limit), stop, operation="jobs")
    except ShutdownRequested:
        return []


async def _either(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@asynccontextmanager
async def renewing_leases(queue: JobQueue, keys: Collection[str], lease_s: float) -> AsyncIterator[None]:
    """Renews the leases of these jobs while the block runs: they expire only when the process has died."""
    async with background_task(partial(_renew, queue, keys, lease_s / 3)):
        yield


async def _renew(queue: JobQueue, keys: Collection[str], every_s: float, ended: asyncio.Event) -> None:
    while not await pause(ended, every_s):
        try:
            await queue.renew(keys)
        except TransientError as error:
            _log.warning("leases_not_renewed", jobs=len(keys), error=str(error))


async def listen(settings: Settings, ready: Mapping[JobKind, asyncio.Event], expedite: Expedite | None = None) -> None:
    """Sets the event of a kind at each notification of its jobs, and every event when notifications may have been
    lost. Calls `expedite` for each attempt of which a webhook reported news; a lost report only delays the next look
    at the provider."""
    channels = {jobs_channel(kind): event for kind, event in ready.items()}
    async with NotificationSubscriber(settings) as subscriber:
        for channel in channels:
            await subscriber.subscribe(channel)
        async for channel, notification in subscriber.messages():
            if isinstance(notification, AttemptNotification) and expedite is not None:
                await _expedite(expedite, notification)
            for event in channels.values() if channel == ALL_CHANNELS else [channels[channel]]:
                event.set()


async def _expedite(expedite: Expedite, reported: AttemptNotification) -> None:
    try:
        await expedite(reported.generation_id, reported.attempt)
    except TransientError as error:
        _log.warning("not_expedited", generation_id=str(reported.generation_id), error=str(error))
