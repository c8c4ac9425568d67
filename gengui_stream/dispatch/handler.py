"""`dispatch` jobs: announce the attempt on the log, hand it to a provider, then create its `reconcile` job.

Every generation that has not ended has an open `dispatch` job, or an open `reconcile` job for its current attempt.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, assert_never

from gengui_stream.dispatch.call_limiter import Answer, CallLimiter
from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.attempt_timeouts import deadline_of
from gengui_stream.domain.generation.decide import DispatchStep
from gengui_stream.errors import TransientError
from gengui_stream.jobs.attempts import (
    Attempt,
    accepted,
    canceled,
    completed,
    dispatched,
    failed,
    missing,
    moderated,
    started,
    timed_out,
)
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.providers.interface import Dispatched, Finished, Moderated, Refused, Superseded
from gengui_stream.providers.routing.decision import Route, Unavailable
from schemas.events import Event

TRIES_MAX: Final = 8
"""About two minutes with the back-off; then the attempt fails, and another may follow."""


BUSY_S: Final = 0.25
"""Seconds until a job is retried for whose provider no call is free."""


class Dispatcher:
    """Handles batches of dispatch jobs."""

    def __init__(self, queue: JobQueue, context: JobContext, calls: CallLimiter) -> None:
        self._queue = queue
        self._context = context
        self._calls = calls

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises ShutdownRequested when the process stops while a server is unavailable; the leases then expire."""
        attempts = await self._context.load(jobs)
        now = datetime.now(UTC)
        steps = [(attempt, self._step(attempt, now)) for attempt in attempts]
        routes = await self._routed([a for a, step in steps if step is DispatchStep.ANNOUNCE_AND_CALL])
        events = [event for attempt, step in steps if (event := _announcement(attempt, step, routes))]
        await self._context.append(events)
        await self._hand_over(steps, routes, now)
        over = [
            attempt.job.key
            for attempt, step in steps
            if step in {DispatchStep.SKIP, DispatchStep.CANCEL, DispatchStep.EXPIRE}
        ]
        await self._context.finish(self._queue, [*over, *missing(jobs, attempts)])

    def _step(self, attempt: Attempt, now: datetime) -> DispatchStep:
        provider = self._context.providers.get(attempt.state.provider)
        repeatable = provider is None or provider.capabilities.repeatable
        timeouts = self._context.timeouts(attempt.state.provider)
        return decide.dispatch(attempt.state, attempt.job.attempt, now, timeouts, repeatable=repeatable)

    async def _routed(self, attempts: Sequence[Attempt]) -> dict[str, Route]:
        """Routes by job key. Jobs without an available provider or a free call are rescheduled, and not announced."""
        found = {attempt.job.key: self._route(attempt) for attempt in attempts}
        delays = {key: delay_s for key, delay_s in found.items() if isinstance(delay_s, float)}
        await self._context.reschedule(self._queue, delays, reset_tries=delays.keys())
        return {key: route for key, route in found.items() if isinstance(route, Route)}

    def _route(self, attempt: Attempt) -> Route | float:
        """A Route with a reserved call, or the delay in seconds until the next try."""
        router = self._context.router
        decision = router.route(attempt.preference, attempt.request)
        if isinstance(decision, Unavailable):
            return router.retry_delay_s(decision)
        if self._calls.try_acquire(decision.provider):
            return decision
        router.release(decision)
        return BUSY_S

    async def _hand_over(
        self, steps: Sequence[tuple[Attempt, DispatchStep]], routes: dict[str, Route], announced_at: datetime
    ) -> None:
        """Settles each call as soon as it completes: a slow provider delays only its own attempts."""
        calls = {
            asyncio.ensure_future(self._answer(attempt, step, routes.get(attempt.job.key), announced_at)): attempt
            for attempt, step in steps
            if step in {DispatchStep.CALL, DispatchStep.RECONCILE}
            or (step is DispatchStep.ANNOUNCE_AND_CALL and attempt.job.key in routes)
        }
        waiting = set(calls)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await self._settle([(calls[call], call.result(), _provider(calls[call], routes)) for call in done])
        finally:
            for call in waiting:
                call.cancel()

    async def _answer(
        self, attempt: Attempt, step: DispatchStep, route: Route | None, announced_at: datetime
    ) -> Answer:
        if step is DispatchStep.RECONCILE:
            return Dispatched(None)
        place = route or Route(attempt.state.provider, attempt.state.model)

        async def begins() -> None:
            await self._context.append([started(attempt)])

        try:
            answer = await self._calls.dispatch(place.provider, attempt.at(place, announced_at), begins)
        finally:
            if route is not None:
                self._calls.release(route.provider)
        self._context.router.record(place, answer)
        return answer

    async def _settle(self, answered: Sequence[tuple[Attempt, Answer, str]]) -> None:
        events: list[Event] = []
        reconcile_delays: dict[str, float] = {}
        for attempt, answer, provider in answered:
            match answer:
                case Dispatched(None) | Superseded():
                    reconcile_delays[attempt.job.key] = self._in_doubt_delay_s(attempt, provider)
                case Dispatched():
                    reconcile_delays[attempt.job.key] = self._first_poll_s(attempt, provider)
                    if event := accepted(attempt, provider, answer):
                        events.append(event)
                case Finished():
                    events.append(completed(attempt, answer))
                case Moderated():
                    events.append(moderated(attempt, answer.reason))
                case Refused():
                    events.append(failed(attempt, answer))
                case TransientError():
                    await self._settle_in_doubt(attempt, answer, provider, events, reconcile_delays)
                case _:
                    assert_never(answer)
        await self._context.append(events)
        await self._context.finish_and_reconcile(self._queue, reconcile_delays)
        await self._context.finish(
            self._queue, [attempt.job.key for attempt, _, _ in answered]
        )  # released jobs are skipped: their lease has another owner, or none

    async def _settle_in_doubt(
        self,
        attempt: Attempt,
        error: TransientError,
        provider: str,
        events: list[Event],
        reconcile_delays: dict[str, float],
    ) -> None:
        """Repeats the call where a repetition is harmless; otherwise the attempt may be running, and reconciliation
        finds out."""
        known = self._context.providers.get(provider)
        if known is not None and not known.capabilities.repeatable:
            reconcile_delays[attempt.job.key] = self._in_doubt_delay_s(attempt, provider)
        elif attempt.job.tries >= TRIES_MAX:
            events.append(failed(attempt, Refused("provider_unreachable", str(error)[:500], retryable=True)))
        else:
            await self._reschedule(attempt.job, error)

    def _in_doubt_delay_s(self, attempt: Attempt, provider: str) -> float:
        """For a call in doubt: it may have begun just now, long after its announcement."""
        known = self._context.providers.get(provider)
        in_doubt_s = known.call_policy.in_doubt_s if known and known.call_policy.synchronous else 0.0
        return max(self._first_poll_s(attempt, provider), min(self._left_s(attempt, provider), in_doubt_s))

    def _first_poll_s(self, attempt: Attempt, provider: str) -> float:
        return min(self._left_s(attempt, provider), self._context.timeouts(provider).heartbeat_timeout.total_seconds())

    def _left_s(self, attempt: Attempt, provider: str) -> float:
        deadline = deadline_of(attempt.state, self._context.timeouts(provider))
        return max(0.0, (deadline - datetime.now(UTC)).total_seconds())

    async def _reschedule(self, job: ClaimedJob, error: TransientError) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int)
        await retry_transient(
            partial(self._queue.reschedule_after_error, job.key, delay, str(error)),
            self._context.stop,
            operation="jobs",
        )


def _provider(attempt: Attempt, routes: dict[str, Route]) -> str:
    route = routes.get(attempt.job.key)
    return route.provider if route else attempt.state.provider


def _announcement(attempt: Attempt, step: DispatchStep, routes: dict[str, Route]) -> Event | None:
    match step:
        case DispatchStep.ANNOUNCE_AND_CALL:
            route = routes.get(attempt.job.key)
            return dispatched(attempt, route) if route else None
        case DispatchStep.CANCEL:
            return canceled(attempt)
        case DispatchStep.EXPIRE:
            return timed_out(attempt, "the deadline passed before the generation was dispatched")
        case DispatchStep.SKIP | DispatchStep.CALL | DispatchStep.RECONCILE:
            return None
        case _:
            assert_never(step)
