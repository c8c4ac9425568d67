"""`watch` jobs: no attempt is waited for in vain. One comes back until its generation has ended or moved on."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, assert_never

import structlog

from gengui_stream.domain.generation import Status
from gengui_stream.domain.patience import (
    GiveUp,
    Over,
    Remind,
    StopWaiting,
    TryAgain,
    Verdict,
    Wait,
    judge_attempt,
)
from gengui_stream.domain.retry import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import Refused
from gengui_stream.reactions.attempts import (
    Attempt,
    canceled,
    failed,
    missing,
    retried,
    timed_out,
)
from gengui_stream.reactions.jobs import ClaimedJob, JobQueue
from gengui_stream.reactions.resources import Resources
from schemas.events import Event

CONFIRM_S: Final = 2.0
CONFIRM_MAX_S: Final = 600.0
"""After an event that ends the attempt, the watch looks whether the projection has it, and says it again if not: ever
more seldom, as the projection may be behind for long, or the generation parked."""

_log = structlog.get_logger(__name__)


class Watcher:
    """Does batches of watch jobs."""

    def __init__(self, queue: JobQueue, resources: Resources) -> None:
        self._queue = queue
        self._resources = resources

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises Stopped when told to end while a server is away: the leases run out then."""
        attempts = await self._resources.load(jobs)
        now, patience = datetime.now(UTC), self._resources.patience
        verdicts = [(a, judge_attempt(a.state, a.job.attempt, now, patience)) for a in attempts]
        events = [event for a, verdict in verdicts if (event := await self._act(a, verdict))]
        await self._resources.append(events)
        over = [a.job.key for a, verdict in verdicts if isinstance(verdict, Over)]
        await asyncio.gather(*(self._tell(a) for a, verdict in verdicts if isinstance(verdict, Over)))
        await self._resources.finish(self._queue, [*over, *missing(jobs, attempts)])
        later = {a.job.key: delay for a, v in verdicts if (delay := _delay(v, now, a.job)) is not None}
        await self._resources.postpone(self._queue, later)

    async def _act(self, attempt: Attempt, verdict: Verdict) -> Event | None:
        match verdict:
            case Over() | Wait():
                return None
            case Remind():
                return await self._remind(attempt)
            case StopWaiting():
                event: Event = canceled(attempt)
            case TryAgain(reason, last_heard_at):
                event = retried(attempt, reason, last_heard_at)
            case GiveUp(reason, last_heard_at):
                event = timed_out(attempt, reason, last_heard_at)
            case _:
                assert_never(verdict)
        _log.warning("attempt_given_up", job_key=attempt.job.key, verdict=repr(verdict))
        return event

    async def _remind(self, attempt: Attempt) -> Event | None:
        """A repeatable dispatch puts back what the provider has lost, and is nothing new where it has not."""
        provider = self._resources.providers.get(attempt.state.provider)
        if provider is None or not provider.capabilities.repeatable or attempt.state.cancel_requested:
            return None
        try:
            answer = await provider.dispatch(attempt.request)
        except TransientError as error:
            _log.warning("not_reminded", job_key=attempt.job.key, error=str(error))
            return None
        return failed(attempt, answer) if isinstance(answer, Refused) else None

    async def _tell(self, attempt: Attempt) -> None:
        """So that nobody works for nothing; what is done all the same changes nothing. Only once the log has it that
        the attempt is over: told before, its worker might cancel what nobody wanted canceled."""
        if attempt.state.attempt == attempt.job.attempt and attempt.state.status is not Status.TIMED_OUT:
            return
        provider = self._resources.providers.get(attempt.state.provider)
        if provider is None or not provider.capabilities.cancel:
            return
        try:
            await provider.cancel(attempt.job.generation_id, attempt.job.attempt)
        except TransientError as error:
            _log.warning("not_canceled", job_key=attempt.job.key, error=str(error))


def _delay(verdict: Verdict, now: datetime, job: ClaimedJob) -> float | None:
    """Seconds until the next look; `None`: there is none."""
    match verdict:
        case Over():
            return None
        case Wait(until) | Remind(until):
            return max(0.1, (until - now).total_seconds())
        case StopWaiting() | TryAgain() | GiveUp():
            return backoff_seconds(job.tries, salt=job.generation_id.int, base=CONFIRM_S, ceiling=CONFIRM_MAX_S)
        case _:
            assert_never(verdict)
