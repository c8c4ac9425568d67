"""What every loop over attempts needs: the servers it speaks to, and when to stop waiting for them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts
from gengui_stream.jobs.attempts import Attempt, load_attempts
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.lifecycle import persist
from gengui_stream.log.event_log import Appender
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.interface import Provider
from gengui_stream.providers.routing.router import Router
from schemas.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """Each method waits for a server that is away, and raises Stopped when told to end meanwhile."""

    pool: Pool
    log: Appender
    providers: Mapping[str, Provider]
    router: Router
    default_timeouts: AttemptTimeouts
    stop: asyncio.Event

    def timeouts(self, provider: str) -> AttemptTimeouts:
        """The defaults, except for what the provider's call policy sets."""
        known = self.providers.get(provider)
        policy = known.call_policy if known is not None else None
        if policy is None or policy.heartbeat_timeout_s is None:
            return self.default_timeouts
        return replace(
            self.default_timeouts,
            heartbeat_timeout=timedelta(seconds=policy.heartbeat_timeout_s),
            poll_interval=timedelta(seconds=policy.poll_interval_s or policy.heartbeat_timeout_s),
        )

    async def load(self, jobs: Sequence[ClaimedJob]) -> list[Attempt]:
        return await persist(partial(load_attempts, self.pool, jobs), self.stop, what="generations")

    async def append(self, events: Sequence[Event]) -> None:
        if events:
            await persist(partial(self.log.append_many, events), self.stop, what="log")

    async def finish(self, queue: JobQueue, keys: Sequence[str]) -> None:
        if keys:
            await persist(partial(queue.finish, keys), self.stop, what="jobs")

    async def postpone(self, queue: JobQueue, delays: Mapping[str, float], afresh: Collection[str] = ()) -> None:
        if delays:
            await persist(partial(queue.postpone, delays, afresh), self.stop, what="jobs")

    async def finish_and_watch(self, queue: JobQueue, delays: Mapping[str, float]) -> None:
        if delays:
            await persist(partial(queue.finish_and_watch, delays), self.stop, what="jobs")
