"""`dispatch` jobs: announce the attempt on the log, and call a provider once the announcement counts.

A job is claimed only when its call can start. Its `reconcile` job, which exists since the attempt began, finds out what
became of a call whose outcome is unknown.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, assert_never

import structlog

from gengui_stream.dispatch.call_limiter import Answer, CallLimiter
from gengui_stream.dispatch.slots import DispatchSlots
from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import DispatchStep
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.attempts import (
    Attempt,
    accepted,
    completed,
    dispatched,
    failed,
    missing,
    moderated,
    started,
)
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.process.lifecycle import pause, retry_transient
from gengui_stream.providers.interface import Dispatched, Finished, Moderated, ProviderJob, Refused, Superseded
from gengui_stream.providers.routing.decision import Route, Unavailable
from gengui_stream.tracing.spans import Span
from schemas.events import Event

TRIES_MAX: Final = 8
"""About two minutes with the back-off; then the attempt fails, and another may follow."""

NO_SLOT_S: Final = 0.25
"""Seconds until a job is tried again that could not go to the provider for which it was claimed: its circuit has opened
since, or the fallback does not support the request."""

STOP_TRIES_MAX: Final = 6

Placed: TypeAlias = tuple[Attempt, Route]
Run: TypeAlias = tuple[Attempt, Route, Dispatched]

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Handles batches of dispatch jobs. `claim` and `poll_s`: of its DispatchSlots, without which a job has no slot."""

    def __init__(self, queue: JobQueue, context: JobContext, calls: CallLimiter) -> None:
        self._queue = queue
        self._context = context
        self._calls = calls
        self._slots = DispatchSlots(queue, context, calls)
        self.claim: Final = self._slots.claim
        self.poll_s: Final = self._slots.poll_s

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises ShutdownRequested when the process stops while a server is unavailable; the leases then end."""
        try:
            await self._work(jobs)
        finally:
            for job in jobs:
                self._slots.free(job.key)

    async def _work(self, jobs: Sequence[ClaimedJob]) -> None:
        attempts = await self._context.load(jobs)
        now = jobs[0].claimed_at
        steps = [(attempt, self._step(attempt, now)) for attempt in attempts]
        announced = await self._announce([a for a, step in steps if step is DispatchStep.ANNOUNCE_AND_CALL])
        repeated = [(a, Route(a.state.provider, a.state.model)) for a, step in steps if step is DispatchStep.CALL]
        over = [a.job.key for a, step in steps if step is DispatchStep.SKIP]
        await self._context.finish(self._queue, [*over, *missing(jobs, attempts)])
        no_slot = {a.job.key: NO_SLOT_S for a, route in repeated if not self._slots.has(a.job.key, route.provider)}
        await self._context.reschedule(self._queue, no_slot, reset_tries=no_slot.keys())
        called = [(attempt, route) for attempt, route in repeated if attempt.job.key not in no_slot]
        await self._call([*announced, *called], now)

    def _step(self, attempt: Attempt, now: datetime) -> DispatchStep:
        provider = self._context.providers.get(attempt.state.provider)
        repeatable = provider is None or provider.capabilities.repeatable
        timeouts = self._context.timeouts(attempt.state.provider)
        return decide.dispatch(attempt.state, attempt.job.attempt, now, timeouts, repeatable=repeatable)

    async def _announce(self, attempts: Sequence[Attempt]) -> list[Placed]:
        """The attempts to call: those whose announcement counts. A cancellation or another process came before the
        others, whose jobs are finished."""
        placed = await self._placed(attempts)
        now = self._context.clock()
        events: dict[str, Event] = {a.job.key: dispatched(a, route, new_id(), now) for a, route in placed}
        counted = await self._context.appended_and_applied(events)
        refused = [(attempt, route) for attempt, route in placed if attempt.job.key not in counted]
        for _, route in refused:
            self._context.router.release(route)
        await self._context.finish(self._queue, [attempt.job.key for attempt, _ in refused])
        return [(attempt, route) for attempt, route in placed if attempt.job.key in counted]

    async def _placed(self, attempts: Sequence[Attempt]) -> list[Placed]:
        """Jobs without an available provider or a free slot are rescheduled, and not announced."""
        placed: list[Placed] = []
        delays: dict[str, float] = {}
        for attempt in attempts:
            route = self._route(attempt)
            if isinstance(route, Route):
                placed.append((attempt, route))
            else:
                delays[attempt.job.key] = route
        await self._context.reschedule(self._queue, delays, reset_tries=delays.keys())
        return placed

    def _route(self, attempt: Attempt) -> Route | float:
        """A Route with a slot of its provider, or the delay in seconds until the next try."""
        router, key = self._context.router, attempt.job.key
        decision = router.route(attempt.state.preference, attempt.request)
        if isinstance(decision, Unavailable):
            return router.retry_delay_s(decision)
        if not self._slots.has(key, decision.provider):
            router.release(decision)
            return NO_SLOT_S
        return decision

    async def _call(self, placed: Sequence[Placed], announced_at: datetime) -> None:
        """Settles each call as soon as it completes: a slow provider delays only its own attempts."""
        calls = {
            asyncio.create_task(self._answer(attempt, route, announced_at)): (attempt, route)
            for attempt, route in placed
        }
        waiting = set(calls)
        accepting: list[asyncio.Task[None]] = []
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                runs = await self._settle([(*calls[call], call.result()) for call in done])
                accepting.append(asyncio.create_task(self._accept(runs)))
            await asyncio.gather(*accepting)
        finally:
            for call in waiting:
                call.cancel()
            for each in accepting:
                each.cancel()

    async def _answer(self, attempt: Attempt, route: Route, announced_at: datetime) -> Answer:
        async def begins() -> None:
            await self._context.append([started(attempt, self._context.clock())])

        try:
            repeats, withdrawn = partial(self._repeats, attempt, route), partial(self._is_withdrawn, attempt)
            with attempt.span("dispatch", route) as calling:
                request = attempt.at(route, announced_at)
                answer = await self._calls.dispatch(route.provider, request, begins, repeats, withdrawn)
                _describe(calling, answer)
        finally:
            self._slots.free(attempt.job.key)
        self._context.router.record(route, answer)
        if isinstance(answer, Refused):
            await self._hold(route, answer)
        return answer

    async def _hold(self, route: Route, refusal: Refused) -> None:
        """Keeps every process from the provider for as long as it asks."""
        found = self._context.router.hold(route, refusal)
        if found is not None:
            await retry_transient(partial(self._context.pauses.hold, found), self._context.stop, operation="pauses")

    async def _repeats(self, attempt: Attempt, route: Route, refusal: Refused) -> bool:
        """A pause that the provider asks for holds its other calls too. The attempt waits for its end only where
        another provider cannot take the next attempt meanwhile."""
        router, state = self._context.router, attempt.state
        await self._hold(route, refusal)
        is_last = state.attempt >= state.max_attempts
        if refusal.retry_after_s is None or is_last:
            return True
        return not router.has_alternative(state.preference, attempt.request, route.provider)

    async def _is_withdrawn(self, attempt: Attempt) -> bool:
        return not any(
            now.state.attempt == attempt.job.attempt and not now.state.terminal and not now.state.cancel_requested
            for now in await self._context.load([attempt.job])
        )

    async def _settle(self, answered: Sequence[tuple[Attempt, Route, Answer]]) -> Sequence[Run]:
        """Returns the runs that the providers have accepted, whose jobs are not finished yet."""
        now = self._context.clock()
        events: list[Event] = []
        runs: list[Run] = []
        for attempt, route, answer in answered:
            match answer:
                case Dispatched():
                    runs.append((attempt, route, answer))
                case Superseded():
                    pass
                case Finished():
                    events.append(completed(attempt, answer, now))
                case Moderated():
                    events.append(moderated(attempt, answer.reason, now))
                case Refused():
                    events.append(failed(attempt, answer, now))
                case TransientError():
                    event = await self._repeat_or_give_up(attempt, answer, route.provider)
                    events += [event] if event else []
                case _:
                    assert_never(answer)
        await self._context.append(events)
        over = [attempt.job.key for attempt, _, answer in answered if not isinstance(answer, Dispatched)]
        await self._context.finish(self._queue, over)  # rescheduled jobs are skipped: their lease has ended
        return runs

    async def _accept(self, runs: Sequence[Run]) -> None:
        """Records the providers' job ids, and finishes the jobs. A run whose attempt has ended meanwhile could not be
        stopped without its id, and is stopped now: while the partition catches up, its event makes no job."""
        now = self._context.clock()
        events: dict[str, Event] = {
            attempt.job.key: event
            for attempt, route, answer in runs
            if (event := accepted(attempt, route.provider, answer, now)) is not None
        }
        counted = await self._context.appended_and_applied(events)
        late = [run for run in runs if run[0].job.key in events and run[0].job.key not in counted]
        await asyncio.gather(*(self._stop_run(*run) for run in late))
        await self._context.finish(self._queue, [attempt.job.key for attempt, _, _ in runs])

    async def _stop_run(self, attempt: Attempt, route: Route, answer: Dispatched) -> None:
        provider = self._context.providers.get(route.provider)
        if provider is None or not provider.capabilities.cancel:
            return
        job = ProviderJob(
            dispatched_at=attempt.job.claimed_at,
            cancel_requested=True,
            provider_job_id=answer.provider_job_id,
            endpoint_id=answer.endpoint_id,
        )
        for tries in range(1, STOP_TRIES_MAX + 1):
            try:
                await provider.cancel(attempt.at(route, attempt.job.claimed_at), job)
            except TransientError as error:
                _log.warning("run_not_stopped", job_key=attempt.job.key, tries=tries, error=str(error))
                await pause(self._context.stop, backoff_seconds(tries, salt=attempt.job.generation_id.int))
            else:
                return

    async def _repeat_or_give_up(self, attempt: Attempt, error: TransientError, provider: str) -> Event | None:
        """Repeats the call where a repetition is harmless; otherwise the attempt may be running, and its `reconcile`
        job finds out."""
        known = self._context.providers.get(provider)
        if known is not None and not known.capabilities.repeatable:
            return None
        if attempt.job.tries >= TRIES_MAX:
            refusal = Refused("provider_unreachable", str(error)[:500], retryable=True)
            return failed(attempt, refusal, self._context.clock())
        await self._reschedule(attempt.job, error)
        return None

    async def _reschedule(self, job: ClaimedJob, error: TransientError) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int)
        await retry_transient(
            partial(self._queue.reschedule_after_error, job.key, delay, str(error)),
            self._context.stop,
            operation="jobs",
        )


def _describe(span: Span, answer: Answer) -> None:
    span.set({"gengui.outcome": type(answer).__name__.lower()})
    if isinstance(answer, Dispatched) and answer.provider_job_id is not None:
        span.set({"gengui.provider_job_id": answer.provider_job_id})
    elif isinstance(answer, Refused):
        span.fail(answer.code)
    elif isinstance(answer, TransientError):
        span.fail(type(answer).__name__)
