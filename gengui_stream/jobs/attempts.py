"""Attempts as the job handlers see them, and the events by which the handlers report outcomes.

Event ids derive from the job's key: a repeated job produces the same ids.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.providers.interface import Dispatched, DispatchRequest, Finished, ProviderJob, Refused, RunTimes
from gengui_stream.providers.routing.decision import Route
from gengui_stream.stamps import repeatable_stamp
from gengui_stream.tracing.spans import Span, continued, current_traceparent
from schemas.events import (
    Event,
    Failure,
    GenerationAccepted,
    GenerationCanceled,
    GenerationCompleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
)
from schemas.fields import TEXT_MAX

PRODUCER: Final = "dispatch"

_NAMESPACE: Final = UUID("0f1d6a52-0f5e-5c43-8f3c-9d1c3a8f7b20")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed job, the state of its generation, and the request."""

    job: ClaimedJob
    state: Generation
    request: DispatchRequest

    def at(self, route: Route, announced_at: datetime) -> DispatchRequest:
        """The request for the route's model, in the current span."""
        traceparent = current_traceparent() or self.request.traceparent
        return replace(self.request, model=route.model, announced_at=announced_at, traceparent=traceparent)

    def span(self, name: str, route: Route) -> AbstractContextManager[Span]:
        """A span of the generation's trace, for a call to the route's provider."""
        known: dict[str, str | int] = {
            "gengui.generation_id": str(self.job.generation_id),
            "gengui.attempt": self.job.attempt,
            "gengui.provider": route.provider,
            "gengui.model": route.model,
        }
        return continued(name, "client", self.request.traceparent, known)

    @property
    def provider_job(self) -> ProviderJob:
        """Where the attempt runs, as the log records it. Empty for a superseded attempt: the state holds only the
        current attempt's provider ids."""
        state = self.state
        since = state.dispatched_at or state.requested_at
        if state.attempt != self.job.attempt:
            return ProviderJob(dispatched_at=since)
        return ProviderJob(
            dispatched_at=since,
            started_at=state.started_at,
            sends_heartbeats=state.sends_heartbeats,
            cancel_requested=state.cancel_requested,
            provider_job_id=state.provider_job_id,
            endpoint_id=state.endpoint_id,
        )


def missing(jobs: Sequence[ClaimedJob], found: Collection[Attempt]) -> list[str]:
    """The keys of the jobs without an attempt in `found`."""
    known = {attempt.job.key for attempt in found}
    return [job.key for job in jobs if job.key not in known]


def dispatched(attempt: Attempt, route: Route, claim_id: UUID, now: datetime) -> GenerationDispatched:
    """`claim_id`: of one claim of the job, so that of two processes that announce the attempt, one after the other lost
    its lease, each knows whether its own announcement counts."""
    where = {"provider": route.provider, "model": route.model, "fallback_reason": route.reason}
    return GenerationDispatched.model_validate({**_common(attempt, f"dispatched/{claim_id}", now), **where})


def accepted(attempt: Attempt, provider: str, answer: Dispatched, now: datetime) -> GenerationAccepted | None:
    """None for a provider without endpoints: it finds the attempt by the generation's id."""
    if answer.provider_job_id is None or answer.endpoint_id is None:
        return None
    named = {"provider": provider, "provider_job_id": answer.provider_job_id, "endpoint_id": answer.endpoint_id}
    return GenerationAccepted.model_validate({**_common(attempt, "accepted", now), **named})


def started(attempt: Attempt, now: datetime) -> GenerationStarted:
    return GenerationStarted.model_validate(_common(attempt, "started", now))


def begun(attempt: Attempt, times: RunTimes | None) -> Sequence[Event]:
    """The start of the run, as its provider tells it afterwards; none where the log has it, or the provider is
    silent."""
    return [] if times is None or attempt.state.started_at is not None else [started(attempt, times.started_at)]


def ended(attempt: Attempt, times: RunTimes | None, end: Callable[[datetime], Event], now: datetime) -> Sequence[Event]:
    """The start, and the `end` at its time by the provider, which is not before a start that the log has."""
    ended_at = times.ended_at if times is not None else None
    if ended_at is None:
        return [*begun(attempt, times), end(now)]
    since = attempt.state.started_at
    return [*begun(attempt, times), end(ended_at if since is None else max(ended_at, since))]


def completed(attempt: Attempt, found: Finished, now: datetime) -> GenerationCompleted:
    return GenerationCompleted.model_validate({**_common(attempt, "completed", now), "outputs": found.outputs})


def moderated(attempt: Attempt, reason: str, now: datetime) -> GenerationModerated:
    return GenerationModerated.model_validate({**_common(attempt, "moderated", now), "reason": _truncated(reason)})


def seen_running(attempt: Attempt, now: datetime) -> GenerationHeartbeatReceived:
    """Each check that finds the attempt running is a new sign of life, with its own event id."""
    return GenerationHeartbeatReceived.model_validate(_common(attempt, f"running/{now.isoformat()}", now))


def failed(attempt: Attempt, refusal: Refused, now: datetime) -> GenerationFailed:
    error = Failure(
        code=refusal.code,
        message=_truncated(refusal.message),
        retryable=refusal.retryable,
        retry_after_s=refusal.retry_after_s,
    )
    return GenerationFailed.model_validate({**_common(attempt, "failed", now), "error": error})


def canceled(attempt: Attempt, now: datetime) -> GenerationCanceled:
    return GenerationCanceled.model_validate(_common(attempt, "canceled", now))


def timed_out(
    attempt: Attempt, reason: str, now: datetime, last_heard_at: datetime | None = None
) -> GenerationTimedOut:
    fields = {**_common(attempt, _given_up("timed_out", last_heard_at), now), "reason": _truncated(reason)}
    return GenerationTimedOut.model_validate({**fields, "last_heard_at": last_heard_at})


def retried(attempt: Attempt, reason: str, now: datetime, last_heard_at: datetime) -> GenerationRetried:
    fields = {**_common(attempt, _given_up("retried", last_heard_at), now), "reason": _truncated(reason)}
    return GenerationRetried.model_validate({**fields, "last_heard_at": last_heard_at})


def _truncated(text: str) -> str:
    """A provider's message within the limits of an event field, without NUL, which PostgreSQL refuses."""
    return text.replace("\x00", "")[:TEXT_MAX]


def _given_up(what: str, last_heard_at: datetime | None) -> str:
    """Each period of silence has its own event id."""
    return what if last_heard_at is None else f"{what}/{last_heard_at.isoformat()}"


def _common(attempt: Attempt, fact: str, now: datetime) -> Mapping[str, object]:
    request = attempt.request
    stamp = repeatable_stamp(
        _NAMESPACE,
        f"{attempt.job.key}/{fact}",
        PRODUCER,
        occurred_at=now,
        correlation_id=request.correlation_id,
        traceparent=request.traceparent,
    )
    return {**stamp.envelope(attempt.job.generation_id), "attempt": attempt.job.attempt}
