"""The role `worker`: takes jobs off the queue, a few at once, and acknowledges each only once the log has its end."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import owner_name
from gengui_stream.lifecycle import ShutdownRequested, pause, retry_transient
from gengui_stream.malloc import give_back_large_blocks, share_heaps
from gengui_stream.media.object_store import open_object_store
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.redis_io.streams import BlockingConsumer, StreamEntry
from gengui_stream.role_context import RoleContext
from gengui_stream.worker.beside import beside
from gengui_stream.worker.client import WorkerClient, open_worker_client
from gengui_stream.worker.drawing import Drawing
from gengui_stream.worker.job import DrawingJob, Nonsense, parse
from gengui_stream.worker.queue import GROUP, WAIT_S, WorkQueue

DELIVERIES_MAX: Final = 5
"""A job that was given out so often has taken its workers down with it: it gets no sixth."""

_log = structlog.get_logger(__name__)


async def run_worker(role: RoleContext) -> None:
    """Runs until told to stop; waits for servers that are unavailable."""
    share_heaps()
    give_back_large_blocks()  # a picture's layers are large, and drawing takes far longer than fresh pages do
    async with AsyncExitStack() as stack:
        try:
            worker = await _assembled(role, stack)
            role.health.started()
            await worker.run(role.settings.worker_concurrency, grace_s=role.settings.shutdown_grace_s)
        except ShutdownRequested:
            _log.info("worker_stopped_while_waiting")


async def _assembled(role: RoleContext, stack: AsyncExitStack) -> "Worker":
    settings, stop = role.settings, role.stop
    name = owner_name("worker")
    client = await retry_transient(
        lambda: stack.enter_async_context(open_worker_client(settings)), stop, operation="log"
    )
    store = await stack.enter_async_context(open_object_store(settings))
    redis = await stack.enter_async_context(opened_redis(settings))
    consumer = await stack.enter_async_context(
        BlockingConsumer(settings, QUEUE_STREAM, GROUP, name, longest_wait_s=WAIT_S)
    )
    threads = stack.enter_context(ThreadPoolExecutor(settings.worker_concurrency, thread_name_prefix="painter"))
    queue = WorkQueue(consumer, redis, name, claim_idle_s=settings.worker_claim_idle_s)
    await retry_transient(queue.create, stop, operation="job queue")
    drawing = Drawing(queue, client, store, threads, stop)
    return Worker(queue, client, drawing, stop, keep_every_s=settings.worker_claim_idle_s / 3)


class Worker:
    """Entries in, pictures out."""

    def __init__(
        self, queue: WorkQueue, client: WorkerClient, drawing: Drawing, stop: asyncio.Event, *, keep_every_s: float
    ) -> None:
        self._queue = queue
        self._client = client
        self._drawing = drawing
        self._stop = stop
        self._keep_every_s = keep_every_s

    async def run(self, concurrency: int, *, grace_s: float) -> None:
        """Until told to stop. What is not done `grace_s` later is handed back; an unexpected error ends it all."""
        _log.info("worker_started", concurrency=concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._take_turns()) for _ in range(concurrency)]
            late = group.create_task(self._cut_short(tasks, grace_s))
            await asyncio.wait(tasks)
            late.cancel()
        with suppress(TransientError):
            await self._queue.leave()

    async def _cut_short(self, tasks: "list[asyncio.Task[None]]", grace_s: float) -> None:
        await self._stop.wait()
        await asyncio.wait(tasks, timeout=grace_s * 0.8)
        for task in tasks:
            task.cancel()

    async def _take_turns(self) -> None:
        with suppress(ShutdownRequested):
            while not self._stop.is_set():
                entry = await retry_transient(self._queue.take, self._stop, operation="job queue")
                if entry is not None:
                    await self._do(entry)

    async def _do(self, entry: StreamEntry) -> None:
        finished = False
        try:
            await self._settle(entry)
            await retry_transient(partial(self._queue.done, entry.id), self._stop, operation="job queue")
            finished = True
        finally:
            if not finished:
                await self._hand_back(entry)

    async def _settle(self, entry: StreamEntry) -> None:
        """Returns when nothing is left to do about the entry."""
        if not entry.fields:  # a canceled job's, deleted while it waited
            return
        match parse(entry.fields):
            case Nonsense() as nonsense:
                await self._refuse(entry, nonsense)
            case DrawingJob() as job:
                try:
                    await self._do_job(entry, job)
                except PermanentError as error:  # nobody will ever take what there is to say
                    _log.error("job_report_refused", generation_id=str(job.generation_id), error=str(error))

    async def _do_job(self, entry: StreamEntry, job: DrawingJob) -> None:
        deliveries = await retry_transient(partial(self._queue.deliveries, entry.id), self._stop, operation="job queue")
        if deliveries > DELIVERIES_MAX:
            message = f"{deliveries - 1} workers were lost over it"
            await self._say_failed(Nonsense(message, job.generation_id, job.attempt), "worker_lost")
            return
        async with beside(partial(self._keep, entry, job)):
            await self._drawing.draw(job)

    async def _refuse(self, entry: StreamEntry, nonsense: Nonsense) -> None:
        _log.warning("job_makes_no_sense", entry_id=entry.id, fault=nonsense.message)
        if nonsense.generation_id is None:
            await retry_transient(partial(self._queue.bury, entry, nonsense), self._stop, operation="job queue")
            return
        await self._say_failed(nonsense, "invalid_job")

    async def _say_failed(self, nonsense: Nonsense, code: str) -> None:
        generation_id, attempt = nonsense.generation_id, nonsense.attempt
        if generation_id is None:
            return
        said = partial(self._client.failed, generation_id, code, nonsense.message, retryable=False, attempt=attempt)
        await retry_transient(said, self._stop, operation="log")

    async def _hand_back(self, entry: StreamEntry) -> None:
        """Told to end, or about to crash: another worker need not wait until the entry counts as abandoned."""
        try:
            await self._queue.hand_back(entry.id)
            _log.info("job_handed_back", entry_id=entry.id)
        except TransientError as error:
            _log.warning("job_not_handed_back", entry_id=entry.id, error=str(error))

    async def _keep(self, entry: StreamEntry, job: DrawingJob, over: asyncio.Event) -> None:
        """Signs of life meanwhile: to the other workers, and to the log."""
        while not await pause(over, self._keep_every_s):
            try:
                await self._queue.keep(entry.id)
                await self._client.heartbeat(job.generation_id, attempt=job.attempt)
            except (TransientError, PermanentError) as error:
                _log.warning("sign_of_life_lost", entry_id=entry.id, error=str(error))
