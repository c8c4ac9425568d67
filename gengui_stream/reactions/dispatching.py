"""`dispatch` jobs: the attempt is announced on the log, then handed to its provider, then watched.

Every generation that has not ended has an open `dispatch` job, or an open `watch` of its current attempt.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial
from typing import Final, TypeAlias, assert_never

import structlog

from gengui_stream.domain.generation import Status
from gengui_stream.domain.patience import Patience, deadline_of
from gengui_stream.domain.retry import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.lifecycle import persist
from gengui_stream.metrics import Metrics
from gengui_stream.providers.interface import Dispatched, DispatchOutcome, Refused, Superseded
from gengui_stream.reactions.attempts import (
    Attempt,
    canceled,
    dispatched,
    failed,
    missing,
    timed_out,
)
from gengui_stream.reactions.jobs import ClaimedJob, JobQueue
from gengui_stream.reactions.resources import Resources
from schemas.events import Event

CALLS_AT_ONCE: Final = 32
TRIES_MAX: Final = 8
"""With the back-off in between about two minutes; then the attempt has failed, and another one may follow."""

Answer: TypeAlias = DispatchOutcome | TransientError

_log = structlog.get_logger(__name__)


class Step(Enum):
    """What is to be done about a dispatch job."""

    SKIP = auto()
    CANCEL = auto()
    EXPIRE = auto()
    ANNOUNCE_AND_CALL = auto()
    CALL = auto()
    WATCH = auto()


_HANDED_OVER: Final = {Step.ANNOUNCE_AND_CALL, Step.CALL, Step.WATCH}


def next_step(attempt: Attempt, now: datetime, patience: Patience) -> Step:
    """Pure. A job that is done again after a crash goes on where the log says it was."""
    state = attempt.state
    if state.terminal or state.attempt != attempt.job.attempt:
        return Step.SKIP
    if state.cancel_requested:
        return Step.CANCEL
    if now >= deadline_of(state, patience):
        return Step.EXPIRE
    match state.status:
        case Status.QUEUED:
            return Step.ANNOUNCE_AND_CALL
        case Status.PROCESSING:
            return Step.WATCH
        case _:
            return Step.CALL


class Dispatcher:
    """Does batches of dispatch jobs."""

    def __init__(self, queue: JobQueue, resources: Resources, metrics: Metrics) -> None:
        self._queue = queue
        self._resources = resources
        self._metrics = metrics
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises Stopped when told to end while a server is away: the leases run out then."""
        attempts = await self._resources.load(jobs)
        now = datetime.now(UTC)
        steps = [(attempt, next_step(attempt, now, self._resources.patience)) for attempt in attempts]
        await self._resources.append([event for attempt, step in steps if (event := _announcement(attempt, step))])
        handed = [(attempt, step) for attempt, step in steps if step in _HANDED_OVER]
        answers = await asyncio.gather(*(self._answer(attempt, step) for attempt, step in handed))
        await self._settle([(attempt, answer) for (attempt, _), answer in zip(handed, answers, strict=True)])
        skipped = [attempt.job.key for attempt, step in steps if step not in _HANDED_OVER]
        await self._resources.finish(self._queue, [*skipped, *missing(jobs, attempts)])

    async def _answer(self, attempt: Attempt, step: Step) -> Answer:
        return Dispatched(None) if step is Step.WATCH else await self._call(attempt)

    async def _call(self, attempt: Attempt) -> Answer:
        provider = self._resources.providers.get(attempt.state.provider)
        if provider is None:
            return Refused("unknown_provider", f"there is no provider {attempt.state.provider!r}", retryable=False)
        async with self._calls:
            try:
                return await provider.dispatch(attempt.request)
            except TransientError as error:
                return error

    async def _settle(self, answered: Sequence[tuple[Attempt, Answer]]) -> None:
        events: list[Event] = []
        watched: dict[str, float] = {}
        for attempt, answer in answered:
            self._count(attempt, answer)
            match answer:
                case Dispatched() | Superseded():
                    watched[attempt.job.key] = self._first_look_s(attempt)
                case Refused():
                    events.append(failed(attempt, answer))
                case TransientError() if attempt.job.tries >= TRIES_MAX:
                    events.append(failed(attempt, _unreachable(answer)))
                case TransientError():
                    await self._retry_later(attempt.job, answer)
                case _:
                    assert_never(answer)
        await self._resources.append(events)
        await self._resources.finish_and_watch(self._queue, watched)
        await self._resources.finish(
            self._queue, [attempt.job.key for attempt, _ in answered]
        )  # those given back are not ours any more

    def _first_look_s(self, attempt: Attempt) -> float:
        left = (deadline_of(attempt.state, self._resources.patience) - datetime.now(UTC)).total_seconds()
        return max(0.0, min(left, self._resources.patience.silence.total_seconds()))

    def _count(self, attempt: Attempt, answer: Answer) -> None:
        provider = attempt.state.provider if attempt.state.provider in self._resources.providers else "unknown"
        self._metrics.dispatched.labels(provider, type(answer).__name__.lower()).inc()
        if not isinstance(answer, Dispatched):
            _log.warning("not_dispatched", job_key=attempt.job.key, tries=attempt.job.tries, answer=repr(answer))

    async def _retry_later(self, job: ClaimedJob, error: TransientError) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int)
        await persist(partial(self._queue.retry_later, job.key, delay, str(error)), self._resources.stop, what="jobs")


def _announcement(attempt: Attempt, step: Step) -> Event | None:
    match step:
        case Step.ANNOUNCE_AND_CALL:
            return dispatched(attempt)
        case Step.CANCEL:
            return canceled(attempt)
        case Step.EXPIRE:
            return timed_out(attempt, "the deadline passed before the generation was dispatched")
        case Step.SKIP | Step.CALL | Step.WATCH:
            return None
        case _:
            assert_never(step)


def _unreachable(error: TransientError) -> Refused:
    return Refused("provider_unreachable", str(error)[:500], retryable=True)
