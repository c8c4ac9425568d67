"""Log, fold, jobs and their handlers in one process, without a server."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from gengui_stream.cancel.handler import Canceler
from gengui_stream.dispatch.call_limiter import CallLimiter
from gengui_stream.dispatch.handler import Dispatcher
from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.loop import Claim, Work
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.interface import Provider
from gengui_stream.providers.routing.circuit_breaker import Circuits
from gengui_stream.providers.routing.router import Router
from gengui_stream.reconcile.handler import Reconciler
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.event_log import InMemoryEventLog
from gengui_stream.testing.job_queue import InMemoryJobs
from gengui_stream.testing.projection import InMemoryProjection
from gengui_stream.testing.provider_pauses import InMemoryProviderPauses

BATCH: Final = 200
TIMEOUTS: Final = AttemptTimeouts(
    heartbeat_timeout=timedelta(seconds=30), max_duration=timedelta(seconds=600), poll_interval=timedelta(seconds=30)
)


class DispatchProcess:
    """One dispatch process: it claims jobs in its own name, and has its own circuit breakers and call limits."""

    def __init__(self, system: "InMemorySystem", owner: str, fallbacks: Sequence[str]) -> None:
        providers, jobs = system.providers, system.jobs
        self.stop: Final = asyncio.Event()
        self.context: Final = JobContext(
            log=system.log,
            projection=system.projection,
            providers=providers,
            pauses=system.pauses,
            router=Router(providers, fallbacks, Circuits(), system.clock.monotonic),
            default_timeouts=system.timeouts,
            stop=self.stop,
            clock=system.clock.now,
        )
        metrics = new_metrics()
        self._projection = system.projection
        self._cancels = jobs.queue("cancel", owner=owner)
        self._reconciles = jobs.queue("reconcile", owner=owner)
        self.dispatcher: Final = Dispatcher(
            jobs.queue("dispatch", owner=owner), self.context, CallLimiter(providers, metrics, self.stop)
        )
        self.canceler: Final = Canceler(self._cancels, self.context, grace_s=system.cancel_grace_s)
        self.reconciler: Final = Reconciler(self._reconciles, self.context, metrics)

    async def dispatch(self) -> int:
        """Handles the due `dispatch` jobs of one claim; returns their number."""
        return await self._handled(self.dispatcher.claim, self.dispatcher.work)

    async def cancel(self) -> int:
        """Handles the due `cancel` jobs; returns their number."""
        return await self._handled(self._cancels.claim, self.canceler.work)

    async def reconcile(self) -> int:
        """Handles the due `reconcile` jobs; returns their number."""
        return await self._handled(self._reconciles.claim, self.reconciler.work)

    async def work(self) -> None:
        """Handles the due jobs of every kind until none is due."""
        while await self.dispatch() + await self.cancel() + await self.reconcile():
            pass

    async def _handled(self, claim: Claim, work: Work) -> int:
        self._projection.catch_up()
        jobs = await claim(BATCH)
        if jobs:
            await work(jobs)
        return len(jobs)


class InMemorySystem:
    """What dispatch processes share: the log, its projection, the jobs, the providers and the time."""

    def __init__(
        self,
        providers: Iterable[Provider],
        clock: Clock | None = None,
        *,
        log: InMemoryEventLog | None = None,
        timeouts: AttemptTimeouts = TIMEOUTS,
        cancel_grace_s: float = 5.0,
    ) -> None:
        self.clock: Final = clock or Clock()
        self.log: Final = log or InMemoryEventLog(self.clock)
        self.jobs: Final = InMemoryJobs(self.clock)
        self.pauses: Final = InMemoryProviderPauses(self.clock)
        self.providers: Final = {provider.name: provider for provider in providers}
        self.timeouts: Final = timeouts
        self.cancel_grace_s: Final = cancel_grace_s
        heartbeats = {
            name: timedelta(seconds=provider.call_policy.heartbeat_timeout_s)
            for name, provider in self.providers.items()
            if provider.call_policy.heartbeat_timeout_s is not None
        }
        self.projection: Final = InMemoryProjection(self.log, self.jobs, JobTimings(timeouts, heartbeats))

    def advance(self, seconds: float) -> None:
        """Projects what is on the log now, and then advances the time: delays count from the projection."""
        self.projection.catch_up()
        self.clock.advance(seconds)

    def process(self, owner: str = "one", fallbacks: Sequence[str] = ()) -> DispatchProcess:
        """A new dispatch process. `fallbacks`: the providers to fall back on, in order."""
        return DispatchProcess(self, owner, fallbacks)
