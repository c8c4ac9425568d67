"""The fold: pure and total. `apply` never raises, whatever the order or number of events.

An ignored event has an `IgnoredReason`; it stays in the log and in the timeline. The rules: a terminal status never
changes; an event of any attempt but the current one is ignored; progress only grows; an event that is appended again,
at any later point, is ignored, because its change has been made or because the state recognises it
(`domain/generation/duplicates.py`).
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never
from uuid import UUID

from gengui_stream.domain.generation.duplicates import (
    EARLY_MAX,
    came_early_before,
    has_too_many_early,
    is_of_earlier_attempt,
    with_early,
    with_unnumbered,
)
from gengui_stream.domain.generation.outputs import awaits, stored, with_thumbnail
from gengui_stream.domain.generation.state import Failure, Generation, ProviderPreference, Status, StoredOutput
from schemas.events import (
    Event,
    GenerationAccepted,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationRequested,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
    ThumbnailCreated,
    ThumbnailFailed,
    ThumbnailRequested,
)


class IgnoredReason(StrEnum):
    """Why an event changed nothing."""

    NOT_REQUESTED = "not_requested"
    ALREADY_REQUESTED = "already_requested"
    ALREADY_DISPATCHED = "already_dispatched"
    ALREADY_ACCEPTED = "already_accepted"
    ALREADY_STARTED = "already_started"
    ALREADY_CANCEL_REQUESTED = "already_cancel_requested"
    ALREADY_DELETED = "already_deleted"
    NOT_NEWER = "not_newer"
    HEARD_SINCE = "heard_since"
    TERMINAL = "terminal"
    STALE_ATTEMPT = "stale_attempt"
    UNKNOWN_ATTEMPT = "unknown_attempt"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    NOT_COMPLETED = "not_completed"
    UNKNOWN_OUTPUT = "unknown_output"
    THUMBNAIL_EXISTS = "thumbnail_exists"
    THUMBNAIL_ALREADY_REQUESTED = "thumbnail_already_requested"
    OTHER_THUMBNAIL_REVISION = "other_thumbnail_revision"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    IMPLAUSIBLE_TIME = "implausible_time"
    DUPLICATE = "duplicate"
    WRONG_PARTITION = "wrong_partition"


TOO_EARLY: Final = frozenset(
    {IgnoredReason.UNKNOWN_ATTEMPT, IgnoredReason.NOT_COMPLETED, IgnoredReason.ATTEMPTS_EXHAUSTED}
)
"""The reasons to ignore an event that could apply later, while the generation has not ended: a retry without attempts
left would end a generation that is being canceled."""


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
        return _ended(state, event, Status.FAILED, TOO_MANY_EARLY)
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
            return _thumbnail(state, event)
        case "thumbnail.requested":
            return _thumbnail_requested(state, event)
        case "generation.deleted":
            return _deleted(state, event)
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
            return _cancel_requested(state, event)
        case "generation.retried" | "generation.timed_out":
            return _given_up(state, event)
        case _:
            return _ending(state, event)


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


def _given_up(state: Generation, event: GenerationRetried | GenerationTimedOut) -> Generation | IgnoredReason:
    """Ignored when the log has a later sign of life than `last_heard_at`, which the producer had not seen."""
    if event.last_heard_at is not None and state.last_heard_at > event.last_heard_at:
        return IgnoredReason.HEARD_SINCE
    if event.type == "generation.retried":
        return _retried(state, event)
    return _ended(state, event, Status.TIMED_OUT, Failure("timed_out", event.reason, retryable=True))


def _ending(
    state: Generation,
    event: GenerationCompleted | GenerationFailed | GenerationCanceled | GenerationModerated,
) -> Generation:
    match event.type:
        case "generation.completed":
            return _completed(state, event)
        case "generation.failed":
            return _failed(state, event)
        case "generation.canceled":
            return _ended(state, event, Status.CANCELED, None)
        case "generation.moderated":
            return _ended(state, event, Status.MODERATED, Failure("moderated", event.reason, retryable=False))
        case _:
            assert_never(event)


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


def _completed(state: Generation, event: GenerationCompleted) -> Generation:
    ended = _ended(state, event, Status.COMPLETED, None)
    return ended._replace(
        outputs=stored(event.outputs), percent=100.0, started_at=state.started_at or event.occurred_at
    )


def _failed(state: Generation, event: GenerationFailed) -> Generation:
    error = event.error
    failure = Failure(error.code, error.message, error.retryable, error.retry_after_s)
    if state.cancel_requested:
        return _ended(state, event, Status.CANCELED, None)
    if failure.retryable and _may_try_again(state, event):
        return _next_attempt(state)._replace(error=failure)
    return _ended(state, event, Status.FAILED, failure)


def _may_try_again(state: Generation, event: Event) -> bool:
    in_time = state.deadline is None or event.occurred_at < state.deadline
    return in_time and state.attempt < state.max_attempts


def _retried(state: Generation, event: GenerationRetried) -> Generation | IgnoredReason:
    if state.cancel_requested:
        return _ended(state, event, Status.CANCELED, None)
    if state.attempt >= state.max_attempts:
        return IgnoredReason.ATTEMPTS_EXHAUSTED
    return _next_attempt(state)


def _next_attempt(state: Generation) -> Generation:
    return state._replace(
        version=state.version + 1,
        status=Status.QUEUED,
        attempt=state.attempt + 1,
        percent=None,
        stage=None,
        provider_job_id=None,
        endpoint_id=None,
        dispatched_at=None,
        started_at=None,
        heartbeat_at=None,
    )


def _cancel_requested(state: Generation, event: GenerationCancelRequested) -> Generation | IgnoredReason:
    if state.status is Status.QUEUED:  # not dispatched: no worker has to confirm it
        return _ended(state._replace(cancel_requested=True), event, Status.CANCELED, None)
    if state.cancel_requested:
        return IgnoredReason.ALREADY_CANCEL_REQUESTED
    return state._replace(version=state.version + 1, cancel_requested=True)


def _ended(state: Generation, event: Event, status: Status, failure: Failure | None) -> Generation:
    return state._replace(version=state.version + 1, status=status, ended_at=event.occurred_at, error=failure)


def _thumbnail(state: Generation, event: ThumbnailCreated | ThumbnailFailed) -> Generation | IgnoredReason:
    output = _output_of(state, event.output_id)
    if isinstance(output, IgnoredReason):
        return output
    if event.revision < output.thumbnail_revision:
        return IgnoredReason.OTHER_THUMBNAIL_REVISION
    if event.revision == output.thumbnail_revision and not awaits(output, event):
        return IgnoredReason.THUMBNAIL_EXISTS
    return _with_output(state, output, with_thumbnail(output, event))


def _thumbnail_requested(state: Generation, event: ThumbnailRequested) -> Generation | IgnoredReason:
    """The present thumbnail stays until the new one is stored."""
    output = _output_of(state, event.output_id)
    if isinstance(output, IgnoredReason):
        return output
    if state.deleted_at is not None:
        return IgnoredReason.ALREADY_DELETED
    if event.revision <= output.thumbnail_revision:
        return IgnoredReason.THUMBNAIL_ALREADY_REQUESTED
    return _with_output(state, output, replace(output, thumbnail_revision=event.revision, thumbnail_error=None))


def _output_of(state: Generation, output_id: str) -> StoredOutput | IgnoredReason:
    if state.status is not Status.COMPLETED:
        return IgnoredReason.NOT_COMPLETED
    found = next((output for output in state.outputs if output.id == output_id), None)
    return IgnoredReason.UNKNOWN_OUTPUT if found is None else found


def _with_output(state: Generation, output: StoredOutput, changed: StoredOutput) -> Generation:
    outputs = tuple(changed if known is output else known for known in state.outputs)
    return state._replace(version=state.version + 1, outputs=outputs)


def _deleted(state: Generation, event: GenerationDeleted) -> Generation | IgnoredReason:
    """Also requests the cancellation of a generation that has not ended: nothing is made for a deleted one."""
    if state.deleted_at is not None:
        return IgnoredReason.ALREADY_DELETED
    deleted = state._replace(deleted_at=event.occurred_at)
    if state.status is Status.QUEUED:
        return _ended(deleted._replace(cancel_requested=True), event, Status.CANCELED, None)
    return deleted._replace(version=state.version + 1, cancel_requested=state.cancel_requested or not state.terminal)
