"""The fold: pure and total. `apply` never raises, whatever the order or number of events.

An ignored event has an `IgnoredReason`; it stays in the log and in the timeline. The rules: a terminal status never
changes; an event of any attempt but the current one is ignored; progress only grows; an event that is appended again,
at any later point, is ignored, because its change has been made or because the state recognises it
(`domain/generation/duplicates.py`).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.duplicates import (
    EARLY_MAX,
    came_early_before,
    has_too_many_early,
    is_of_earlier_attempt,
    with_early,
    with_unnumbered,
)
from gengui_stream.domain.generation.endings import delete, end, ended, give_up, request_cancel
from gengui_stream.domain.generation.ignored import TOO_EARLY, IgnoredReason
from gengui_stream.domain.generation.outputs import apply_thumbnail, apply_thumbnail_request, delete_outputs
from gengui_stream.domain.generation.state import Failure, Generation, ProviderPreference, Status
from schemas.events import (
    Event,
    GenerationAccepted,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationRequested,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
)

LiveEvent = (
    GenerationDispatched
    | GenerationAccepted
    | GenerationStarted
    | GenerationProgressed
    | GenerationHeartbeatReceived
    | GenerationCompleted
    | GenerationFailed
    | GenerationCancelRequested
    | GenerationCanceled
    | GenerationTimedOut
    | GenerationModerated
    | GenerationRetried
)
"""Events that apply only to a generation that has not ended."""


AttemptEvent = (
    GenerationStarted | GenerationProgressed | GenerationHeartbeatReceived | GenerationFailed | GenerationRetried
)
"""Events that continue an attempt or end it without a result."""


TOO_MANY_EARLY: Final = Failure(
    "inconsistent_events", "too many events about attempts or outputs that do not exist", retryable=False
)


def evolve(state: Generation | None, event: Event) -> Generation | None:
    """The state after the event: the same object when the event leaves no trace."""
    result = apply(state, event)
    if isinstance(result, IgnoredReason):
        return None if state is None else remember(state, event, result)
    return result


def remember(state: Generation, event: Event, reason: IgnoredReason) -> Generation:
    """The state after an ignored event: the same object, unless the event must be recognised when it is appended again.
    Its version only grows when it has too many such events: then it fails."""
    if came_early_before(state, event):
        return state
    if reason is IgnoredReason.IMPLAUSIBLE_TIME:
        return state if has_too_many_early(state) else with_early(state, (event.id,))
    if reason not in TOO_EARLY or state.terminal:
        return with_unnumbered(event, state) if event.attempt is None else state
    if has_too_many_early(state):
        return ended(state, event, Status.FAILED, TOO_MANY_EARLY)
    return with_early(state, (event.id,))


def with_unrequested(state: Generation, event: Event, ids: Collection[UUID]) -> Generation:
    """The state after the request, when events with these ids came before it."""
    if len(ids) > EARLY_MAX:
        return state._replace(status=Status.FAILED, ended_at=event.occurred_at, error=TOO_MANY_EARLY)
    return with_early(state, ids)


def apply(state: Generation | None, event: Event) -> Generation | IgnoredReason:
    """The changed state, or the reason why the event is ignored."""
    if state is None:
        return _requested(event) if event.type == "generation.requested" else IgnoredReason.NOT_REQUESTED
    if came_early_before(state, event):
        return IgnoredReason.DUPLICATE
    result = _apply(state, event)
    if isinstance(result, IgnoredReason) or (event.attempt is not None and result.attempt == state.attempt):
        return result
    return with_unnumbered(event, result)


def _apply(state: Generation, event: Event) -> Generation | IgnoredReason:
    """Matches on `type`, not on the class: pydantic searches its fields at each `isinstance` that fails, and a dozen
    such checks an event cost a third of the fold."""
    match event.type:
        case "generation.requested":
            return IgnoredReason.ALREADY_REQUESTED
        case "thumbnail.created" | "thumbnail.failed":
            return apply_thumbnail(state, event)
        case "thumbnail.requested":
            return apply_thumbnail_request(state, event)
        case "generation.deleted":
            return delete(state, event)
        case "outputs.deleted":
            return delete_outputs(state)
        case _:
            return _live(state, event)


def _live(state: Generation, event: LiveEvent) -> Generation | IgnoredReason:
    if (reason := _reason_to_ignore(state, event)) is not None:
        return reason
    match event.type:
        case "generation.progressed":
            return _progressed(state, event)
        case "generation.heartbeat_received":
            return _heartbeat(state, event)
        case "generation.started":
            return _started(state, event)
        case "generation.dispatched":
            return _dispatched(state, event)
        case "generation.accepted":
            return _accepted(state, event)
        case "generation.cancel_requested":
            return request_cancel(state, event)
        case "generation.retried" | "generation.timed_out":
            return give_up(state, event)
        case _:
            return end(state, event)


def _reason_to_ignore(state: Generation, event: LiveEvent) -> IgnoredReason | None:
    """Why the event comes too late, or too early, for this state; None when it applies."""
    if state.terminal:
        return IgnoredReason.TERMINAL
    if event.attempt is not None and event.attempt != state.attempt:
        return IgnoredReason.STALE_ATTEMPT if event.attempt < state.attempt else IgnoredReason.UNKNOWN_ATTEMPT
    if is_of_earlier_attempt(state, event) or _is_of_previous_attempt(state, event):
        return IgnoredReason.STALE_ATTEMPT
    return None


def _is_of_previous_attempt(state: Generation, event: LiveEvent) -> bool:
    """An event without an attempt number while the new attempt is queued: a repeated end of the previous attempt, or
    its worker returning. It must not count for the new attempt. A result or a cancellation of the previous attempt
    still applies."""
    waiting = state.status is Status.QUEUED and state.attempt > 1 and event.attempt is None
    return waiting and isinstance(event, AttemptEvent)


def _requested(event: GenerationRequested) -> Generation:
    return Generation(
        generation_id=event.generation_id,
        owner_id=event.owner_id,
        model=event.model,
        provider=event.provider,
        max_attempts=event.max_attempts,
        deadline=event.deadline,
        requested_at=event.occurred_at,
        preference=_preference(event),
    )


def _preference(event: GenerationRequested) -> ProviderPreference:
    """Requests of foreign producers state no choice: they named the provider."""
    pinned = event.provider_choice is None or event.provider_choice.source == "request"
    return ProviderPreference(event.provider, event.model, pinned)


def _dispatched(state: Generation, event: GenerationDispatched) -> Generation | IgnoredReason:
    if state.status is not Status.QUEUED:
        return IgnoredReason.ALREADY_DISPATCHED
    return state._replace(
        version=state.version + 1,
        status=Status.DISPATCHED,
        provider=event.provider,
        model=event.model or state.model,
        dispatched_at=event.occurred_at,
    )


def _accepted(state: Generation, event: GenerationAccepted) -> Generation | IgnoredReason:
    if state.provider_job_id is not None:
        return IgnoredReason.ALREADY_ACCEPTED
    return state._replace(
        version=state.version + 1,
        status=Status.DISPATCHED if state.status is Status.QUEUED else state.status,
        provider=event.provider,
        provider_job_id=event.provider_job_id,
        endpoint_id=event.endpoint_id,
        dispatched_at=state.dispatched_at or event.occurred_at,
    )


def _started(state: Generation, event: GenerationStarted) -> Generation | IgnoredReason:
    if state.status is Status.PROCESSING:
        return IgnoredReason.ALREADY_STARTED
    return _running(state, event)


def _running(state: Generation, event: Event) -> Generation:
    """Processing from now on: a report of a worker implies that the attempt has started, with or without a started
    event."""
    return state._replace(
        version=state.version + 1,
        status=Status.PROCESSING,
        started_at=state.started_at or event.occurred_at,
        heartbeat_at=_later(state, event),
    )


def _progressed(state: Generation, event: GenerationProgressed) -> Generation | IgnoredReason:
    if state.percent is not None and event.percent <= state.percent:
        return IgnoredReason.NOT_NEWER
    return state._replace(
        version=state.version + 1,
        status=Status.PROCESSING,
        started_at=state.started_at or event.occurred_at,
        heartbeat_at=_later(state, event),
        percent=event.percent,
        stage=event.stage if event.stage is not None else state.stage,
    )


def _heartbeat(state: Generation, event: GenerationHeartbeatReceived) -> Generation | IgnoredReason:
    if state.heartbeat_at is not None and event.occurred_at <= state.heartbeat_at:
        return IgnoredReason.NOT_NEWER
    return _running(state, event)


def _later(state: Generation, event: Event) -> datetime:
    known = state.heartbeat_at
    return event.occurred_at if known is None else max(known, event.occurred_at)
