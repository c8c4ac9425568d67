"""`reconcile` jobs: each is rescheduled until its generation has ended or a later attempt has begun.

An attempt that has been silent for too long is looked up at its provider, and the finding is appended as an event. Any
number of processes may reconcile: one process claims each job.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, assert_never

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.attempt_timeouts import (
    Check,
    Done,
    ForceCancel,
    PollProvider,
    RecheckAt,
    TimeOut,
    next_check,
)
from gengui_stream.domain.generation.jobs import STOPPED
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.jobs.attempts import (
    Attempt,
    begun,
    canceled,
    completed,
    ended,
    failed,
    missing,
    moderated,
    retried,
    seen_running,
    timed_out,
)
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.metrics import Metrics
from gengui_stream.providers.interface import (
    Canceled,
    Finished,
    Lost,
    Moderated,
    Refused,
    Running,
    StatusOutcome,
)
from schemas.events import Event, GenerationHeartbeatReceived

MAX_CONCURRENCY: Final = 32
CONFIRM_S: Final = 2.0
CONFIRM_MAX_S: Final = 600.0
"""After an event that ends the attempt, the job checks whether the projection has it and appends it again if not, with
growing delays: the projection may be far behind, or the generation parked."""

Action: TypeAlias = PollProvider | ForceCancel | TimeOut
Found: TypeAlias = Running | Finished | Moderated | Refused | Canceled

_log = structlog.get_logger(__name__)


class Reconciler:
    """Handles batches of reconcile jobs."""

    def __init__(self, queue: JobQueue, context: JobContext, metrics: Metrics) -> None:
        self._queue = queue
        self._context = context
        self._metrics = metrics
        self._slots = asyncio.Semaphore(MAX_CONCURRENCY)

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises ShutdownRequested when the process stops while a server is unavailable; the leases then end."""
        attempts = await self._context.load(jobs)
        now = jobs[0].claimed_at
        checks = [(attempt, self._check(attempt, now)) for attempt in attempts]
        over = [attempt for attempt, check in checks if isinstance(check, Done)]
        await self._wait([(attempt, check.until) for attempt, check in checks if isinstance(check, RecheckAt)], now)
        actions = [self._settle(a, check, now) for a, check in checks if not isinstance(check, Done | RecheckAt)]
        await asyncio.gather(*(self._close(attempt) for attempt in over), *actions)
        await self._context.finish(self._queue, [*(a.job.key for a in over), *missing(jobs, attempts)])

    async def _settle(self, attempt: Attempt, check: Action, now: datetime) -> None:
        """Settles each attempt on its own: a slow provider delays no other attempt."""
        events = await self._act(attempt, check, now)
        await self._context.append(events)
        goes_on = not events or isinstance(events[-1], GenerationHeartbeatReceived)
        if isinstance(check, PollProvider | ForceCancel) and goes_on:
            await self._wait([(attempt, check.until)], now)
        else:
            delays = {attempt.job.key: _until_confirmed(attempt.job)}
            await self._context.reschedule(self._queue, delays)

    async def _wait(self, waits: Sequence[tuple[Attempt, datetime]], now: datetime) -> None:
        delays = {attempt.job.key: max(0.1, (until - now).total_seconds()) for attempt, until in waits}
        await self._context.reschedule(self._queue, delays, reset_tries=delays.keys())

    def _check(self, attempt: Attempt, now: datetime) -> Check:
        timeouts = self._context.timeouts(attempt.state.provider)
        job = attempt.job
        return next_check(attempt.state, job.attempt, now, timeouts, expedited=job.expedited)

    async def _act(self, attempt: Attempt, check: Action, now: datetime) -> Sequence[Event]:
        match check:
            case PollProvider():
                return await self._polled(attempt, now)
            case ForceCancel():
                return await self._stopped(attempt, now)
            case TimeOut(reason):
                return await self._timed_out(attempt, reason, now)
            case _:
                assert_never(check)

    async def _timed_out(self, attempt: Attempt, reason: str, now: datetime) -> Sequence[Event]:
        """The provider of an attempt that was dispatched is asked a last time: a finished result still counts."""
        if attempt.state.status is not Status.QUEUED:
            found = await self._found(attempt)
            if isinstance(found, Finished | Moderated):
                return self._events(attempt, found, now)
        return self._given_up(attempt, timed_out(attempt, reason, self._context.clock()), "gave_up")

    async def _stopped(self, attempt: Attempt, now: datetime) -> Sequence[Event]:
        """The end of a silent attempt that was asked to stop; none while it still runs, or may."""
        match found := await self._found(attempt):
            case Running():
                return ()
            case Lost() | Canceled():
                return self._given_up(attempt, canceled(attempt, self._context.clock()), "canceled")
            case _:
                return self._events(attempt, found, now)

    async def _polled(self, attempt: Attempt, now: datetime) -> Sequence[Event]:
        found = await self._found(attempt)
        if not isinstance(found, Lost):
            return self._events(attempt, found, now)
        reason, last_heard_at = self._why(attempt, found), attempt.state.last_heard_at
        if attempt.state.attempt < attempt.state.max_attempts:
            return self._given_up(attempt, retried(attempt, reason, self._context.clock(), last_heard_at), "retried")
        return self._given_up(attempt, timed_out(attempt, reason, self._context.clock(), last_heard_at), "gave_up")

    def _why(self, attempt: Attempt, found: Lost) -> str:
        heartbeat_timeout = self._context.timeouts(attempt.state.provider).heartbeat_timeout.total_seconds()
        return f"attempt {attempt.state.attempt} was silent for {heartbeat_timeout:g} s: {found.reason}"

    async def _found(self, attempt: Attempt) -> StatusOutcome:
        """The provider's answer; Running when the provider is unavailable."""
        provider = self._context.providers.get(attempt.state.provider)
        if provider is None:
            return Lost(f"there is no provider {attempt.state.provider!r} any more")
        self._metrics.reconciled.labels(provider.name, "expedited" if attempt.job.expedited else "stuck").inc()
        async with self._slots:
            try:
                return await provider.get_status(attempt.request, attempt.provider_job)
            except TransientError as error:
                return Running(note=f"could not be asked: {error}")

    def _events(self, attempt: Attempt, found: Found, now: datetime) -> Sequence[Event]:
        provider = attempt.state.provider
        _log.debug("attempt_polled", job_key=attempt.job.key, provider=provider, found=repr(found)[:300])
        match found:
            case Running(alive):
                return (*begun(attempt, found.times), seen_running(attempt, now)) if alive else ()
            case Finished():
                events = ended(attempt, found.times, partial(completed, attempt, found), self._context.clock())
            case Moderated(reason):
                events = [moderated(attempt, reason, self._context.clock())]
            case Refused():
                self._context.router.record_late(provider, attempt.state.model, found)
                events = ended(attempt, found.times, partial(failed, attempt, found), self._context.clock())
            case Canceled():
                events = [canceled(attempt, self._context.clock())]
            case _:
                assert_never(found)
        if not attempt.job.expedited:
            self._metrics.reconciled.labels(provider, "recovered").inc()
        return events

    def _given_up(self, attempt: Attempt, event: Event, finding: str) -> Sequence[Event]:
        provider = attempt.state.provider
        _log.warning("attempt_given_up", job_key=attempt.job.key, provider=provider, event_type=event.type)
        self._metrics.reconciled.labels(provider, finding).inc()
        return [event]

    async def _close(self, attempt: Attempt) -> None:
        """Records a late success with the circuit breaker, and cancels a run that no longer counts. Called only once
        the log has the end of the attempt: an earlier cancellation could make the worker report it as canceled. A
        canceled generation may have been ended without the provider's job id, which was recorded later."""
        state = attempt.state
        if state.attempt == attempt.job.attempt and state.status not in STOPPED:
            if state.status is Status.COMPLETED:
                self._context.router.record_late(state.provider, state.model, Finished(()))
            return
        provider = self._context.providers.get(attempt.state.provider)
        if provider is None or not provider.capabilities.cancel:
            return
        try:
            await provider.cancel(attempt.request, attempt.provider_job)
        except TransientError as error:
            _log.warning("not_canceled", job_key=attempt.job.key, error=str(error))


def _until_confirmed(job: ClaimedJob) -> float:
    return backoff_seconds(job.tries, salt=job.generation_id.int, base=CONFIRM_S, ceiling=CONFIRM_MAX_S)
