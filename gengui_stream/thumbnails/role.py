"""The role `thumbnails`: fetches an output, stores its thumbnail, appends `thumbnail.created` or `thumbnail.failed`.

A repeated job writes the same object and appends an event with the same id, which the fold ignores. A failed thumbnail
leaves its generation completed.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, assert_never

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.jobs import thumbnail_key
from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.identifiers import owner_name
from gengui_stream.jobs.loop import JobHandler, listen, run_job_loop
from gengui_stream.jobs.queue import ClaimedJob, JobQueue, PostgresJobQueue
from gengui_stream.log.event_log import Appender, EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.media.thumbnails import Limits
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, open_pool, transient_errors
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.process.malloc import share_heaps
from gengui_stream.projections import generation_states
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.handler import NoThumbnail, NotYet, Result, Stored, Thumbnailer, created, failed
from schemas.events import ThumbnailCreated, ThumbnailFailed

CONNECTIONS: Final = 4

_log = structlog.get_logger(__name__)


async def run_thumbnails(role: RoleContext) -> None:
    """Runs until `stop` is set, then finishes the claimed jobs. Retries while a server is unavailable."""
    share_heaps()
    async with AsyncExitStack() as stack:
        try:
            await _run(role, stack)
        except ShutdownRequested:
            _log.info("thumbnails_stopped_while_waiting")


async def _run(role: RoleContext, stack: AsyncExitStack) -> None:
    settings, stop, metrics = role.settings, role.stop, role.metrics
    pool = await retry_transient(partial(open_pool, settings, size=CONNECTIONS), stop, operation="database")
    stack.push_async_callback(pool.close)
    log = EventLog(settings)
    stack.push_async_callback(log.stop)
    await retry_transient(log.start, stop, operation="broker")
    store = await stack.enter_async_context(open_object_store(settings))
    threads = stack.enter_context(ThreadPoolExecutor(settings.thumbnail_threads, thread_name_prefix="thumbnail"))
    queue = PostgresJobQueue(pool, "thumbnail", owner=owner_name("thumbnails"), lease_seconds=settings.job_lease_s)
    thumbnailer = Thumbnailer(store, threads, limits_of(settings), metrics)
    jobs = ThumbnailJobs(queue, thumbnailer=thumbnailer, pool=pool, log=log, metrics=metrics, stop=stop)
    role.health.started()
    await _work(settings, jobs, queue, stop)


async def _work(settings: Settings, jobs: "ThumbnailJobs", queue: JobQueue, stop: asyncio.Event) -> None:
    ready = asyncio.Event()
    listening = asyncio.ensure_future(listen(settings, {"thumbnail": ready}))
    # Twice as many jobs as threads: one is fetched or stored while another is decoded.
    slots = 2 * settings.thumbnail_threads
    _log.info("thumbnails_started", threads=settings.thumbnail_threads)
    try:
        handler = JobHandler(queue=queue, claim=queue.claim, work=jobs.work, batch=1, in_flight_max=slots)
        await run_job_loop(handler, stop, ready=ready, lease_s=settings.job_lease_s)
    finally:
        listening.cancel()


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.thumbnail_size, settings.thumbnail_max_bytes, settings.thumbnail_max_pixels)


class ThumbnailJobs:
    """Finishes or reschedules each claimed job. Raises ShutdownRequested at a stop while a server is unavailable: the
    leases expire then."""

    def __init__(
        self,
        queue: JobQueue,
        *,
        thumbnailer: Thumbnailer,
        pool: Pool,
        log: Appender,
        metrics: Metrics,
        stop: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._thumbnailer = thumbnailer
        self._pool = pool
        self._log = log
        self._metrics = metrics
        self._stop = stop

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        for job in jobs:
            began = time.perf_counter()
            outcome = await self._do(job)
            self._metrics.observe_job(job.kind, outcome, time.perf_counter() - began)

    async def _do(self, job: ClaimedJob) -> str:
        state = await retry_transient(partial(self._load, job), self._stop, operation="generation")
        output = _wanted(state, job)
        if state is None or output is None:
            await self._finish(job)
            return "done"
        return await self._settle(job, output, await self._thumbnailer.result(job, state, output))

    async def _load(self, job: ClaimedJob) -> Generation | None:
        with transient_errors():
            return (await generation_states.load(self._pool, [job.generation_id])).get(job.generation_id)

    async def _settle(self, job: ClaimedJob, output: StoredOutput, result: Result) -> str:
        match result:
            case NotYet():
                await self._reschedule(job, result)
                return "retried"
            case Stored():
                await self._append(job, created(job, output, result))
                return "done"
            case NoThumbnail():
                await self._append(job, failed(job, output, result))
                return "failed"
            case _:
                assert_never(result)

    async def _append(self, job: ClaimedJob, event: ThumbnailCreated | ThumbnailFailed) -> None:
        await retry_transient(partial(self._log.append, event), self._stop, operation="log")
        self._metrics.events_appended.labels(event.type).inc()
        await self._finish(job)
        _report(job, event)

    async def _finish(self, job: ClaimedJob) -> None:
        await retry_transient(partial(self._queue.finish, [job.key]), self._stop, operation="jobs")

    async def _reschedule(self, job: ClaimedJob, result: NotYet) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int)
        _log.warning(
            "thumbnail_rescheduled", job_key=job.key, tries=job.tries, error=result.message, retry_in_s=round(delay, 2)
        )
        await retry_transient(
            partial(self._queue.reschedule_after_error, job.key, delay, result.message), self._stop, operation="jobs"
        )


def _wanted(state: Generation | None, job: ClaimedJob) -> StoredOutput | None:
    """The output that still needs the job's thumbnail; None when the generation was deleted, the thumbnail exists, or a
    later revision was requested, which has its own job."""
    if state is None or state.deleted_at is not None:
        return None
    found = next((output for output in state.outputs if output.id == job.output_id), None)
    if found is None or found.has_current_thumbnail:
        return None
    return found if thumbnail_key(state.generation_id, found) == job.key else None


def _report(job: ClaimedJob, event: ThumbnailCreated | ThumbnailFailed) -> None:
    ids = {"generation_id": str(job.generation_id), "output_id": event.output_id}
    match event:
        case ThumbnailCreated():
            _log.info("thumbnail_created", **ids, bytes=event.bytes)
        case ThumbnailFailed():
            _log.warning("thumbnail_failed", **ids, reason=event.reason, message=event.message)
        case _:
            assert_never(event)
