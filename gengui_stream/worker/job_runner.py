"""Runs one job: draw, upload, report. A repeated job stores the same bytes under the same key and reports the same."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar, assert_never

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.worker.client import WorkerClient
from gengui_stream.worker.job import DrawingJob
from gengui_stream.worker.painter.rendering import MIME_TYPE, Canvas, blank, encode_png, paint
from gengui_stream.worker.queue import Ownership, WorkQueue
from schemas.events import Output

REPORT_EVERY: Final = 0.125
"""As a share of the job: about seven progress events."""

PERMANENT_UPLOAD: Final = "upload_refused"

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class JobRunner:
    """Runs one job per call, until its outcome is in the log. Raises ShutdownRequested if the shutdown comes first."""

    def __init__(
        self,
        queue: WorkQueue,
        client: WorkerClient,
        threads: ThreadPoolExecutor,
        stop: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._client = client
        self._threads = threads
        self._stop = stop

    async def run(self, job: DrawingJob) -> None:
        more = {"heartbeats": "1"} if self._client.sends_heartbeats else None
        ownership = await self._persist(partial(self._mark, job, "processing", more), "job hash")
        if ownership is Ownership.OURS:
            await _best_effort(self._client.started(job.generation_id, attempt=job.attempt))
            ownership = await self._drawn(job)
        match ownership:
            case Ownership.OURS | Ownership.ENDED | Ownership.LOST:
                pass
            case Ownership.CANCELED:
                await self._persist(partial(self._client.canceled, job.generation_id, attempt=job.attempt), "log")
            case _:
                assert_never(ownership)
        _log.info("job_ended", generation_id=str(job.generation_id), attempt=job.attempt, standing=ownership)

    async def _drawn(self, job: DrawingJob) -> Ownership:
        """OURS: the job completed or failed, and was reported."""
        canvas = await self._painted(job)
        if isinstance(canvas, Ownership):
            return canvas
        body = await self._in_thread(partial(encode_png, canvas))
        try:
            key = await self._persist(partial(self._queue.upload, job, body, MIME_TYPE), "object store")
        except PermanentError as error:
            await self._fail(job, error)
            return Ownership.OURS
        # The process may have been paused since the last report, for so long that another worker has claimed the job.
        ownership = await self._persist(partial(self._queue.ownership, job), "job queue")
        if ownership is Ownership.OURS:
            await self._complete(job, _output(job, key, body))
        return ownership

    async def _painted(self, job: DrawingJob) -> Canvas | Ownership:
        """The canvas, or why the job is no longer this worker's. Reports run concurrently and delay nothing."""
        sketch = job.sketch
        canvas = await self._in_thread(partial(blank, sketch))
        steps, reports = paint(sketch, canvas), Reports(self._queue, self._client, job)
        async with background_task(reports.run):
            while (share := await self._in_thread(partial(next, steps, None))) is not None:
                reports.share = share
                if reports.ownership is not Ownership.OURS:
                    return reports.ownership
        return canvas

    async def _complete(self, job: DrawingJob, output: Output) -> None:
        await self._persist(partial(self._client.completed, job.generation_id, [output], attempt=job.attempt), "log")
        await _best_effort(self._mark(job, "completed", {"s3Key": output.object_key}))

    async def _fail(self, job: DrawingJob, error: PermanentError) -> None:
        report = partial(
            self._client.failed, job.generation_id, PERMANENT_UPLOAD, str(error), retryable=True, attempt=job.attempt
        )
        await self._persist(report, "log")
        await _best_effort(self._mark(job, "failed", {"error": f"{PERMANENT_UPLOAD}: {error}"[:500]}))

    async def _mark(self, job: DrawingJob, status: str, more: dict[str, str] | None = None) -> Ownership:
        return await self._queue.mark(job, status, more)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        return await retry_transient(attempt, self._stop, operation=what)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class Reports:
    """Reports the progress of a job, and checks whether it is still this worker's. Best effort throughout."""

    def __init__(self, queue: WorkQueue, client: WorkerClient, job: DrawingJob) -> None:
        self._queue = queue
        self._client = client
        self._job = job
        self._share = 0.0
        self._moved = asyncio.Event()
        self.ownership = Ownership.OURS

    @property
    def share(self) -> float:
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        self._share = share
        self._moved.set()

    async def run(self, ended: asyncio.Event) -> None:
        reported = 0.0
        while not ended.is_set():
            await self._moved.wait()
            self._moved.clear()
            if self._share < min(reported + REPORT_EVERY, 1.0):
                continue
            reported = self._share
            job = self._job
            await _best_effort(self._check_ownership())
            await _best_effort(
                self._client.progressed(
                    job.generation_id, round(reported * 100, 1), stage="painting", attempt=job.attempt
                )
            )

    async def _check_ownership(self) -> None:
        self.ownership = await self._queue.ownership(self._job)


def _output(job: DrawingJob, key: str, body: bytes) -> Output:
    return Output(
        object_key=key,
        mime_type=MIME_TYPE,
        width=job.width,
        height=job.height,
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


async def _best_effort(report: Awaitable[object]) -> None:
    """For optional reports: a lost one must not fail the job."""
    try:
        await report
    except (TransientError, PermanentError) as error:
        _log.warning("report_failed", error=str(error))
