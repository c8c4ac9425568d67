"""`thumbnail` jobs: makes the thumbnail of one output each, and appends what came of it."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import assert_never

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.jobs import thumbnail_key
from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.log.event_log import Appender
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.projections import generation_states
from gengui_stream.thumbnails.thumbnailer import NoThumbnail, NotYet, Result, Stored, Thumbnailer, created, failed
from schemas.events import ThumbnailCreated, ThumbnailFailed

_log = structlog.get_logger(__name__)


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
