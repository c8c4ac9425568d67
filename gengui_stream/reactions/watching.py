"""`watch` jobs: no attempt is waited for in vain. One comes back until its generation has ended or moved on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, assert_never

import structlog

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

CONFIRM_S: Final = 5.0
"""After an event that ends the attempt, the watch looks once more whether the projection has it."""

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
        await self._resources.finish(self._queue, [*over, *missing(jobs, attempts)])
        later = {a.job.key: delay for a, v in verdicts if (delay := _delay(v, now)) is not None}
        await self._resources.postpone(self._queue, later)

    async def _act(self, attempt: Attempt, verdict: Verdict) -> Event | None:
        match verdict:
            case Over() | Wait():
                return None
            case Remind():
                return await self._remind(attempt)
            case StopWaiting():
                event: Event = canceled(attempt)
            case TryAgain(reason):
                event = retried(attempt, reason)
            case GiveUp(reason):
                event = timed_out(attempt, reason)
            case _:
                assert_never(verdict)
        _log.warning("attempt_given_up", job_key=attempt.job.key, verdict=repr(verdict))
        await self._tell(attempt)
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
        """So that nobody works for nothing; what is done all the same changes nothing."""
        provider = self._resources.providers.get(attempt.state.provider)
        if provider is None or not provider.capabilities.cancel:
            return
        try:
            await provider.cancel(attempt.job.generation_id, attempt.job.attempt)
        except TransientError as error:
            _log.warning("not_canceled", job_key=attempt.job.key, error=str(error))


def _delay(verdict: Verdict, now: datetime) -> float | None:
    """Seconds until the next look; `None`: there is none."""
    match verdict:
        case Over():
            return None
        case Wait(until) | Remind(until):
            return max(0.1, (until - now).total_seconds())
        case StopWaiting() | TryAgain() | GiveUp():
            return CONFIRM_S
        case _:
            assert_never(verdict)
