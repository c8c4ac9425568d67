"""`watch` jobs: no attempt is waited for in vain. One comes back until its generation has ended or moved on.

This is the reconciliation of every provider: an attempt that is silent for long is looked at where it runs, and what
is found there becomes an event. Any number of processes may watch: each job is claimed by one.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
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
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.jobs.attempts import (
    Attempt,
    canceled,
    completed,
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

LOOKS_AT_ONCE: Final = 32
CONFIRM_S: Final = 2.0
CONFIRM_MAX_S: Final = 600.0
"""After an event that ends the attempt, the watch looks whether the projection has it, and says it again if not: ever
more seldom, as the projection may be behind for long, or the generation parked."""

Action: TypeAlias = PollProvider | ForceCancel | TimeOut
Found: TypeAlias = Running | Finished | Moderated | Refused | Canceled

_log = structlog.get_logger(__name__)


class Reconciler:
    """Does batches of watch jobs."""

    def __init__(self, queue: JobQueue, context: JobContext, metrics: Metrics) -> None:
        self._queue = queue
        self._context = context
        self._metrics = metrics
        self._turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises ShutdownRequested when told to end while a server is away: the leases run out then."""
        attempts = await self._context.load(jobs)
        now = datetime.now(UTC)
        judged = [(attempt, self._check(attempt, now)) for attempt in attempts]
        over = [attempt for attempt, check in judged if isinstance(check, Done)]
        await self._wait([(attempt, check.until) for attempt, check in judged if isinstance(check, RecheckAt)], now)
        looks = [self._settle(a, v, now) for a, v in judged if not isinstance(v, Done | RecheckAt)]
        await asyncio.gather(*(self._tell(attempt) for attempt in over), *looks)
        await self._context.finish(self._queue, [*(a.job.key for a in over), *missing(jobs, attempts)])

    async def _settle(self, attempt: Attempt, check: Action, now: datetime) -> None:
        """Each by itself: a provider that is slow to answer holds up no other one's news."""
        event = await self._act(attempt, check, now)
        await self._context.append([event] if event else [])
        goes_on = event is None or isinstance(event, GenerationHeartbeatReceived)
        if isinstance(check, PollProvider) and goes_on:
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

    async def _act(self, attempt: Attempt, check: Action, now: datetime) -> Event | None:
        match check:
            case PollProvider():
                return await self._looked(attempt, now)
            case ForceCancel():
                return self._given_up(attempt, canceled(attempt), "canceled")
            case TimeOut(reason):
                found = await self._found(attempt)
                if isinstance(found, Finished | Moderated):
                    return self._event(attempt, found, now)
                return self._given_up(attempt, timed_out(attempt, reason), "gave_up")
            case _:
                assert_never(check)

    async def _looked(self, attempt: Attempt, now: datetime) -> Event | None:
        found = await self._found(attempt)
        if not isinstance(found, Lost):
            return self._event(attempt, found, now)
        reason, last_heard_at = self._why(attempt, found), attempt.state.last_heard_at
        if attempt.state.attempt < attempt.state.max_attempts:
            return self._given_up(attempt, retried(attempt, reason, last_heard_at), "retried")
        return self._given_up(attempt, timed_out(attempt, reason, last_heard_at), "gave_up")

    def _why(self, attempt: Attempt, found: Lost) -> str:
        heartbeat_timeout = self._context.timeouts(attempt.state.provider).heartbeat_timeout.total_seconds()
        return f"nothing was heard of attempt {attempt.state.attempt} for {heartbeat_timeout:g} s: {found.reason}"

    async def _found(self, attempt: Attempt) -> StatusOutcome:
        """What the provider says; that it runs, when the provider cannot be asked."""
        provider = self._context.providers.get(attempt.state.provider)
        if provider is None:
            return Lost(f"there is no provider {attempt.state.provider!r} any more")
        self._metrics.reconciled.labels(provider.name, "hinted" if attempt.job.expedited else "stuck").inc()
        async with self._turns:
            try:
                return await provider.get_status(attempt.request, attempt.provider_job)
            except TransientError as error:
                return Running(note=f"could not be asked: {error}")

    def _event(self, attempt: Attempt, found: Found, now: datetime) -> Event | None:
        provider = attempt.state.provider
        _log.debug("attempt_looked_at", job_key=attempt.job.key, provider=provider, found=repr(found)[:300])
        match found:
            case Running(alive):
                return seen_running(attempt, now) if alive else None
            case Finished():
                event: Event = completed(attempt, found)
            case Moderated(reason):
                event = moderated(attempt, reason)
            case Refused():
                self._context.router.record_late(provider, attempt.state.model, found)
                event = failed(attempt, found)
            case Canceled():
                event = canceled(attempt)
            case _:
                assert_never(found)
        if not attempt.job.expedited:
            self._metrics.reconciled.labels(provider, "recovered").inc()
        return event

    def _given_up(self, attempt: Attempt, event: Event, finding: str) -> Event:
        provider = attempt.state.provider
        _log.warning("attempt_given_up", job_key=attempt.job.key, provider=provider, event_type=event.type)
        self._metrics.reconciled.labels(provider, finding).inc()
        return event

    async def _tell(self, attempt: Attempt) -> None:
        """The circuit hears of a success, however that became known. Whoever still runs the attempt is told, so that
        nobody works for nothing; what is done all the same changes nothing. Only once the log has it that
        the attempt is over: told before, its worker might cancel what nobody wanted canceled."""
        state = attempt.state
        if state.attempt == attempt.job.attempt and state.status is not Status.TIMED_OUT:
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
