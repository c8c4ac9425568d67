"""Counts the jobs of a queue as they end, and measures them from their claim."""

import time
from collections.abc import Collection, Mapping, Sequence

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.jobs.queue import NO_QUEUE, ClaimedJob, JobQueue
from gengui_stream.metrics import Metrics


class MeasuredJobQueue:
    """Keeps the contract of `JobQueue`. A job that another process has taken over is counted here too."""

    def __init__(self, jobs: JobQueue, kind: JobKind, metrics: Metrics) -> None:
        self._jobs = jobs
        self._kind = kind
        self._metrics = metrics
        self._claimed_at: dict[str, float] = {}

    async def claim(self, limit: int, queues: Collection[ProviderPreference] = (NO_QUEUE,)) -> list[ClaimedJob]:
        jobs = await self._jobs.claim(limit, queues)
        self._claimed_at.update(dict.fromkeys((job.key for job in jobs), time.perf_counter()))
        return jobs

    async def queues(self) -> Sequence[ProviderPreference]:
        return await self._jobs.queues()

    async def renew(self, keys: Collection[str]) -> set[str]:
        return await self._jobs.renew(keys)

    async def finish(self, keys: Collection[str]) -> None:
        await self._jobs.finish(keys)
        self._count(keys, "done")

    async def reschedule(self, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        await self._jobs.reschedule(delays, reset_tries)
        self._count(delays, "retried")

    async def reschedule_after_error(self, key: str, delay_seconds: float, error: str) -> None:
        await self._jobs.reschedule_after_error(key, delay_seconds, error)
        self._count([key], "retried")

    async def release(self, keys: Collection[str]) -> None:
        await self._jobs.release(keys)
        for key in keys:
            self._claimed_at.pop(key, None)

    def _count(self, keys: Collection[str], outcome: str) -> None:
        """Once: a batch is finished with the jobs that were rescheduled before."""
        now = time.perf_counter()
        for key in keys:
            if (claimed_at := self._claimed_at.pop(key, None)) is not None:
                self._metrics.observe_job(self._kind, outcome, now - claimed_at)
