"""The role `worker`: runs jobs of the queue concurrently, and acknowledges each once its outcome is in the log."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import owner_name
from gengui_stream.media.object_store import open_object_store
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import ShutdownRequested, pause, retry_transient
from gengui_stream.process.malloc import give_back_large_blocks, share_heaps
from gengui_stream.providers.local.entries import InvalidMessage
from gengui_stream.providers.local.redis_keys import DELIVERIES_MAX, QUEUE_STREAM, WORKER_GROUP
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import ConsumerStreams, StreamEntry
from gengui_stream.role_context import RoleContext
from gengui_stream.tracing.spans import continued
from gengui_stream.worker.client import WorkerClient, open_worker_client
from gengui_stream.worker.http_queue import HttpWorkQueue
from gengui_stream.worker.job import DrawingJob, parse
from gengui_stream.worker.job_runner import JobRunner
from gengui_stream.worker.queue import WAIT_S, RedisWorkQueue, WorkQueue

_log = structlog.get_logger(__name__)


async def run_worker(role: RoleContext) -> None:
    """Runs until the shutdown; waits for servers that are unavailable."""
    share_heaps()
    give_back_large_blocks()  # the layers of an image are large, and drawing takes far longer than mapping fresh pages
    async with AsyncExitStack() as stack:
        try:
            worker = await _assembled(role, stack)
            role.health.started()
            await worker.run(role.settings.worker_concurrency, grace_s=role.settings.shutdown_grace_s)
        except ShutdownRequested:
            _log.info("worker_stopped_while_waiting")


async def _assembled(role: RoleContext, stack: AsyncExitStack) -> "Worker":
    settings, stop = role.settings, role.stop
    client = await retry_transient(
        lambda: stack.enter_async_context(open_worker_client(settings, metrics=role.metrics)), stop, operation="log"
    )
    queue = await _queue(role, client, stack)
    threads = stack.enter_context(ThreadPoolExecutor(settings.worker_concurrency, thread_name_prefix="painter"))
    await retry_transient(queue.create, stop, operation="job queue")
    runner = JobRunner(queue, client, threads, stop)
    return Worker(queue, client, runner, stop, heartbeat_every_s=settings.worker_claim_idle_s / 3)


async def _queue(role: RoleContext, client: WorkerClient, stack: AsyncExitStack) -> WorkQueue:
    """Over HTTP the API alone is needed: neither Redis nor the object store."""
    settings = role.settings
    if settings.worker_transport == "http":
        return HttpWorkQueue(client.jobs, lease_s=settings.worker_claim_idle_s)
    name = owner_name("worker")
    store = await stack.enter_async_context(open_object_store(settings))
    redis = await stack.enter_async_context(opened_redis(settings))
    consumer = await stack.enter_async_context(
        ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, name, longest_wait_s=WAIT_S)
    )
    await stack.enter_async_context(background_task(lambda _: RedisHealth(redis).keep_checking(role.stop)))
    return RedisWorkQueue(consumer, redis, store, name, claim_idle_s=settings.worker_claim_idle_s)


class Worker:
    """Runs the jobs of the queue."""

    def __init__(
        self,
        queue: WorkQueue,
        client: WorkerClient,
        runner: JobRunner,
        stop: asyncio.Event,
        *,
        heartbeat_every_s: float,
    ) -> None:
        self._queue = queue
        self._client = client
        self._runner = runner
        self._stop = stop
        self._heartbeat_every_s = heartbeat_every_s

    async def run(self, concurrency: int, *, grace_s: float) -> None:
        """Runs until the shutdown. Unfinished jobs are released `grace_s` later. An unexpected error ends all."""
        _log.info("worker_started", concurrency=concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work()) for _ in range(concurrency)]
            deadline = group.create_task(self._cancel_late(tasks, grace_s))
            await asyncio.wait(tasks)
            deadline.cancel()
        with suppress(TransientError):
            await self._queue.leave()

    async def _cancel_late(self, tasks: "list[asyncio.Task[None]]", grace_s: float) -> None:
        await self._stop.wait()
        await asyncio.wait(tasks, timeout=grace_s * 0.8)
        for task in tasks:
            task.cancel()

    async def _work(self) -> None:
        with suppress(ShutdownRequested):
            while not self._stop.is_set():
                entry = await retry_transient(self._queue.take, self._stop, operation="job queue")
                if entry is not None:
                    await self._process(entry)

    async def _process(self, entry: StreamEntry) -> None:
        finished = False
        try:
            await self._settle(entry)
            await retry_transient(partial(self._queue.done, entry.id), self._stop, operation="job queue")
            finished = True
        finally:
            if not finished:
                await self._release(entry)

    async def _settle(self, entry: StreamEntry) -> None:
        """Returns once the entry can be acknowledged."""
        if not entry.fields:  # of a canceled job, deleted from the queue
            return
        match parse(entry.fields):
            case InvalidMessage() as invalid:
                await self._reject(entry, invalid)
            case DrawingJob() as job:
                try:
                    await self._do_job(entry, job.model_copy(update={"entry_id": entry.id}))
                except PermanentError as error:  # the report will never be accepted
                    _log.error("job_report_refused", generation_id=str(job.generation_id), error=str(error))

    async def _do_job(self, entry: StreamEntry, job: DrawingJob) -> None:
        deliveries = await retry_transient(partial(self._queue.deliveries, entry.id), self._stop, operation="job queue")
        if deliveries > DELIVERIES_MAX:
            message = f"{deliveries - 1} workers were lost over it"
            await self._report_failed(InvalidMessage(message, job.generation_id, job.attempt), "worker_lost")
            return
        known: dict[str, str | int] = {"gengui.generation_id": str(job.generation_id)}
        if job.attempt is not None:
            known["gengui.attempt"] = job.attempt
        with continued("work", "consumer", job.traceparent, known):
            async with background_task(partial(self._send_heartbeats, entry, job)):
                await self._runner.run(job)

    async def _reject(self, entry: StreamEntry, invalid: InvalidMessage) -> None:
        _log.warning("job_invalid", entry_id=entry.id, fault=invalid.message)
        if invalid.generation_id is None:
            await retry_transient(partial(self._queue.dead_letter, entry, invalid), self._stop, operation="job queue")
            return
        await self._report_failed(invalid, "invalid_job")

    async def _report_failed(self, invalid: InvalidMessage, code: str) -> None:
        generation_id, attempt = invalid.generation_id, invalid.attempt
        if generation_id is None:
            return
        report = partial(self._client.failed, generation_id, code, invalid.message, retryable=False, attempt=attempt)
        await retry_transient(report, self._stop, operation="log")

    async def _release(self, entry: StreamEntry) -> None:
        """At a shutdown or a crash: another worker need not wait until the entry counts as abandoned."""
        try:
            await self._queue.release(entry.id)
            _log.info("job_released", entry_id=entry.id)
        except TransientError as error:
            _log.warning("job_not_released", entry_id=entry.id, error=str(error))

    async def _send_heartbeats(self, entry: StreamEntry, job: DrawingJob, ended: asyncio.Event) -> None:
        """To the queue, for the other workers, and to the log."""
        while not await pause(ended, self._heartbeat_every_s):
            try:
                if await self._queue.heartbeat(entry.id):
                    await self._client.heartbeat(job.generation_id, attempt=job.attempt)
            except (TransientError, PermanentError) as error:
                _log.warning("heartbeat_failed", entry_id=entry.id, error=str(error))
