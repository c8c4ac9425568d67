"""Handlers that take one job at a time: what they do with the servers, with retries until the process stops."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

from gengui_stream.domain.generation.state import Generation
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.log.event_log import Appender
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.projections import generation_states
from schemas.events import Event


class SingleJobs(ABC):
    """Finishes or reschedules each claimed job. Raises ShutdownRequested at a stop while a server is unavailable: the
    leases end then."""

    def __init__(self, queue: JobQueue, *, pool: Pool, log: Appender, metrics: Metrics, stop: asyncio.Event) -> None:
        self._queue = queue
        self._pool = pool
        self._log = log
        self._metrics = metrics
        self._stop = stop

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        for job in jobs:
            began = time.perf_counter()
            outcome = await self._do(job)
            self._metrics.observe_job(job.kind, outcome, time.perf_counter() - began)

    @abstractmethod
    async def _do(self, job: ClaimedJob) -> str:
        """Finishes or reschedules the job; returns its outcome for the metrics: done, failed, retried."""

    async def _load(self, job: ClaimedJob) -> Generation | None:
        return await retry_transient(partial(self._state, job), self._stop, operation="generation")

    async def _state(self, job: ClaimedJob) -> Generation | None:
        with transient_errors():
            return (await generation_states.load(self._pool, [job.generation_id])).get(job.generation_id)

    async def _append(self, event: Event) -> None:
        await retry_transient(partial(self._log.append, event), self._stop, operation="log")

    async def _finish(self, job: ClaimedJob) -> None:
        await retry_transient(partial(self._queue.finish, [job.key]), self._stop, operation="jobs")

    async def _reschedule(self, job: ClaimedJob, delay_s: float, error: str) -> None:
        reschedule = partial(self._queue.reschedule_after_error, job.key, delay_s, error)
        await retry_transient(reschedule, self._stop, operation="jobs")
