"""One job: draw, upload, report. Done twice, it stores the same bytes under the same key, and says the same."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar, assert_never

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.lifecycle import retry_transient
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.worker.beside import beside
from gengui_stream.worker.client import WorkerClient
from gengui_stream.worker.job import DrawingJob
from gengui_stream.worker.painter.rendering import MIME_TYPE, Canvas, blank, encode_png, paint
from gengui_stream.worker.queue import Standing, WorkQueue
from schemas.events import Output

REPORT_EVERY: Final = 0.125
"""Of the whole: some seven progress events a job."""

PERMANENT_UPLOAD: Final = "upload_refused"

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Drawing:
    """Does one job a call, until the log has what became of it; raises ShutdownRequested when told to end before."""

    def __init__(
        self,
        queue: WorkQueue,
        client: WorkerClient,
        store: ObjectStore,
        threads: ThreadPoolExecutor,
        stop: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._client = client
        self._store = store
        self._threads = threads
        self._stop = stop

    async def draw(self, job: DrawingJob) -> None:
        standing = await self._persist(partial(self._mark, job, "processing"), "job hash")
        if standing is Standing.OURS:
            await _best_effort(self._client.started(job.generation_id, attempt=job.attempt))
            standing = await self._drawn(job)
        match standing:
            case Standing.OURS | Standing.OVER:
                pass
            case Standing.CANCELED:
                await self._persist(partial(self._client.canceled, job.generation_id, attempt=job.attempt), "log")
            case _:
                assert_never(standing)
        _log.info("job_ended", generation_id=str(job.generation_id), attempt=job.attempt, standing=standing)

    async def _drawn(self, job: DrawingJob) -> Standing:
        """OURS: completed, or failed, and said so."""
        canvas = await self._painted(job)
        if isinstance(canvas, Standing):
            return canvas
        body = await self._in_thread(partial(encode_png, canvas))
        output = _output(job, body)
        try:
            await self._persist(partial(self._store.put, output.object_key, body, MIME_TYPE), "object store")
        except PermanentError as error:
            await self._fail(job, error)
        else:
            await self._complete(job, output)
        return Standing.OURS

    async def _painted(self, job: DrawingJob) -> Canvas | Standing:
        """The canvas, or why nobody wants it any more. Reports run beside the painting and never hold it up."""
        sketch = job.sketch
        canvas = await self._in_thread(partial(blank, sketch))
        steps, reports = paint(sketch, canvas), Reports(self._queue, self._client, job)
        async with beside(reports.run):
            while (share := await self._in_thread(partial(next, steps, None))) is not None:
                reports.share = share
                if reports.standing is not Standing.OURS:
                    return reports.standing
        return canvas

    async def _complete(self, job: DrawingJob, output: Output) -> None:
        await self._persist(partial(self._client.completed, job.generation_id, [output], attempt=job.attempt), "log")
        await _best_effort(self._mark(job, "completed", {"s3Key": output.object_key}))

    async def _fail(self, job: DrawingJob, error: PermanentError) -> None:
        said = partial(
            self._client.failed, job.generation_id, PERMANENT_UPLOAD, str(error), retryable=True, attempt=job.attempt
        )
        await self._persist(said, "log")
        await _best_effort(self._mark(job, "failed", {"error": f"{PERMANENT_UPLOAD}: {error}"[:500]}))

    async def _mark(self, job: DrawingJob, status: str, more: dict[str, str] | None = None) -> Standing:
        return await self._queue.mark(job.generation_id, job.attempt, status, more)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        return await retry_transient(attempt, self._stop, operation=what)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class Reports:
    """While painting: says how far it is, and learns whether anybody still wants it. Best effort throughout."""

    def __init__(self, queue: WorkQueue, client: WorkerClient, job: DrawingJob) -> None:
        self._queue = queue
        self._client = client
        self._job = job
        self._share = 0.0
        self._moved = asyncio.Event()
        self.standing = Standing.OURS

    @property
    def share(self) -> float:
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        self._share = share
        self._moved.set()

    async def run(self, over: asyncio.Event) -> None:
        said = 0.0
        while not over.is_set():
            await self._moved.wait()
            self._moved.clear()
            if self._share < min(said + REPORT_EVERY, 1.0):
                continue
            said = self._share
            job = self._job
            await _best_effort(self._ask())
            await _best_effort(
                self._client.progressed(job.generation_id, round(said * 100, 1), stage="painting", attempt=job.attempt)
            )

    async def _ask(self) -> None:
        self.standing = await self._queue.standing(self._job.generation_id, self._job.attempt)


def _output(job: DrawingJob, body: bytes) -> Output:
    return Output(
        object_key=media_key(job.owner_id, job.generation_id, MIME_TYPE),
        mime_type=MIME_TYPE,
        width=job.width,
        height=job.height,
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


async def _best_effort(saying: Awaitable[object]) -> None:
    """For what is good to know and need not be: losing it must not lose the picture."""
    try:
        await saying
    except (TransientError, PermanentError) as error:
        _log.warning("not_said", error=str(error))
