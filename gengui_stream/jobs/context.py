"""The servers and providers that job handlers use, with retries until the process stops."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts
from gengui_stream.jobs.attempts import Attempt
from gengui_stream.jobs.projection import Place, Projection
from gengui_stream.jobs.provider_pauses import ProviderPauses
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.log.event_log import Appender
from gengui_stream.log.positions import Position
from gengui_stream.process.background import set_later
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.providers.interface import Provider
from gengui_stream.providers.routing.router import Router
from gengui_stream.stamps import utc_now
from schemas.events import Event

APPLIED_WITHIN_S: Final = 4.0
"""Above the pause of a partition whose `agents` process is replaced, and below SHUTDOWN_GRACE_S."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """Each method retries while a server is unavailable, and raises ShutdownRequested when the process stops
    meanwhile. `clock`: the time of the events that the handlers append. `applied_within_s`: for how long after a stop
    the projection of an event is waited for, which usually takes milliseconds: an attempt that was announced, and whose
    provider is not called then, is found only by its time-outs."""

    log: Appender
    projection: Projection
    providers: Mapping[str, Provider]
    router: Router
    pauses: ProviderPauses
    default_timeouts: AttemptTimeouts
    stop: asyncio.Event
    clock: Callable[[], datetime] = utc_now
    applied_within_s: float = APPLIED_WITHIN_S

    def timeouts(self, provider: str) -> AttemptTimeouts:
        """The defaults, overridden by the provider's call policy."""
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
        return await retry_transient(partial(self.projection.load, jobs), self.stop, operation="generations")

    async def append(self, events: Sequence[Event]) -> Sequence[Position]:
        if not events:
            return ()
        return await retry_transient(partial(self.log.append_many, events), self.stop, operation="log")

    async def appended_and_applied(self, events: Mapping[str, Event]) -> set[str]:
        """Appends the events and waits until they are projected, however long that takes; returns the keys of those
        that changed their generation. The others came too late: another event ended the attempt, or announced it."""
        positions = await self.append(list(events.values()))
        places = [Place(key, event, at) for (key, event), at in zip(events.items(), positions, strict=True)]
        async with set_later(self.stop, self.applied_within_s) as late:
            return await self.projection.applied(places, late)

    async def finish(self, queue: JobQueue, keys: Sequence[str]) -> None:
        if keys:
            await retry_transient(partial(queue.finish, keys), self.stop, operation="jobs")

    async def reschedule(self, queue: JobQueue, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        if delays:
            await retry_transient(partial(queue.reschedule, delays, reset_tries), self.stop, operation="jobs")
