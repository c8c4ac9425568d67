"""`thumbnail` jobs: makes the thumbnail of one output each, and appends what came of it."""

import asyncio
from functools import partial
from typing import assert_never

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.jobs import thumbnail_key
from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.jobs.single import SingleJobs
from gengui_stream.log.event_log import Appender
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.projections import generation_requests
from gengui_stream.thumbnails.thumbnailer import NoThumbnail, NotYet, Result, Stored, Thumbnailer, created, failed
from gengui_stream.tracing.spans import continued, is_on
from schemas.events import ThumbnailCreated, ThumbnailFailed

_log = structlog.get_logger(__name__)


class ThumbnailJobs(SingleJobs):
    """Handles thumbnail jobs."""

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
        super().__init__(queue, pool=pool, log=log, metrics=metrics, stop=stop)
        self._thumbnailer = thumbnailer

    async def _do(self, job: ClaimedJob) -> str:
        state = await self._load(job)
        output = _wanted(state, job)
        if state is None or output is None:
            await self._finish(job)
            return "done"
        known = {"gengui.generation_id": str(job.generation_id), "gengui.output_id": output.id}
        with continued("thumbnail", "consumer", await self._traceparent(job), known) as span:
            outcome = await self._settle(job, output, await self._thumbnailer.result(job, state, output))
            span.set({"gengui.outcome": outcome})
            return outcome

    async def _traceparent(self, job: ClaimedJob) -> str | None:
        """Read only for a span."""
        if not is_on():
            return None
        read = partial(generation_requests.traceparent_of, self._pool, job.generation_id)
        return await retry_transient(read, self._stop, operation="generation")

    async def _settle(self, job: ClaimedJob, output: StoredOutput, result: Result) -> str:
        match result:
            case NotYet():
                await self._try_later(job, result)
                return "retried"
            case Stored():
                await self._report(job, created(job, output, result))
                return "done"
            case NoThumbnail():
                await self._report(job, failed(job, output, result))
                return "failed"
            case _:
                assert_never(result)

    async def _report(self, job: ClaimedJob, event: ThumbnailCreated | ThumbnailFailed) -> None:
        await self._append(event)
        await self._finish(job)
        _log_result(job, event)

    async def _try_later(self, job: ClaimedJob, result: NotYet) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int)
        _log.warning(
            "thumbnail_rescheduled", job_key=job.key, tries=job.tries, error=result.message, retry_in_s=round(delay, 2)
        )
        await self._reschedule(job, delay, result.message)


def _wanted(state: Generation | None, job: ClaimedJob) -> StoredOutput | None:
    """The output that still needs the job's thumbnail; None when the generation was deleted, the thumbnail exists, or a
    later revision was requested, which has its own job."""
    if state is None or state.deleted_at is not None:
        return None
    found = next((output for output in state.outputs if output.id == job.output_id), None)
    if found is None or found.has_current_thumbnail:
        return None
    return found if thumbnail_key(state.generation_id, found) == job.key else None


def _log_result(job: ClaimedJob, event: ThumbnailCreated | ThumbnailFailed) -> None:
    ids = {"generation_id": str(job.generation_id), "output_id": event.output_id}
    match event:
        case ThumbnailCreated():
            _log.info("thumbnail_created", **ids, bytes=event.bytes)
        case ThumbnailFailed():
            _log.warning("thumbnail_failed", **ids, reason=event.reason, message=event.message)
        case _:
            assert_never(event)
