"""How an attempt or a generation ends: by a result, a failure, a cancellation, a time-out or a deletion."""

from typing import assert_never

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.outputs import stored
from gengui_stream.domain.generation.state import Failure, Generation, Status
from schemas.events import (
    Event,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationFailed,
    GenerationModerated,
    GenerationRetried,
    GenerationTimedOut,
)


def give_up(state: Generation, event: GenerationRetried | GenerationTimedOut) -> Generation | IgnoredReason:
    """Ignored when the log has a later sign of life than `last_heard_at`, which the producer had not seen."""
    if event.last_heard_at is not None and state.last_heard_at > event.last_heard_at:
        return IgnoredReason.HEARD_SINCE
    if event.type == "generation.retried":
        return _retried(state, event)
    return ended(state, event, Status.TIMED_OUT, Failure("timed_out", event.reason, retryable=True))


def end(
    state: Generation,
    event: GenerationCompleted | GenerationFailed | GenerationCanceled | GenerationModerated,
) -> Generation:
    match event.type:
        case "generation.completed":
            return _completed(state, event)
        case "generation.failed":
            return _failed(state, event)
        case "generation.canceled":
            return ended(state, event, Status.CANCELED, None)
        case "generation.moderated":
            return ended(state, event, Status.MODERATED, Failure("moderated", event.reason, retryable=False))
        case _:
            assert_never(event)


def _completed(state: Generation, event: GenerationCompleted) -> Generation:
    completed = ended(state, event, Status.COMPLETED, None)
    return completed._replace(
        outputs=stored(event.outputs), percent=100.0, started_at=state.started_at or event.occurred_at
    )


def _failed(state: Generation, event: GenerationFailed) -> Generation:
    error = event.error
    failure = Failure(error.code, error.message, error.retryable, error.retry_after_s)
    if state.cancel_requested:
        return ended(state, event, Status.CANCELED, None)
    if failure.retryable and _may_try_again(state, event):
        return _next_attempt(state)._replace(error=failure)
    return ended(state, event, Status.FAILED, failure)


def _may_try_again(state: Generation, event: Event) -> bool:
    in_time = state.deadline is None or event.occurred_at < state.deadline
    return in_time and state.attempt < state.max_attempts


def _retried(state: Generation, event: GenerationRetried) -> Generation | IgnoredReason:
    if state.cancel_requested:
        return ended(state, event, Status.CANCELED, None)
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


def request_cancel(state: Generation, event: GenerationCancelRequested) -> Generation | IgnoredReason:
    if state.status is Status.QUEUED:  # not dispatched: no worker has to confirm it
        return ended(state._replace(cancel_requested=True), event, Status.CANCELED, None)
    if state.cancel_requested:
        return IgnoredReason.ALREADY_CANCEL_REQUESTED
    return state._replace(version=state.version + 1, cancel_requested=True)


def ended(state: Generation, event: Event, status: Status, failure: Failure | None) -> Generation:
    return state._replace(version=state.version + 1, status=status, ended_at=event.occurred_at, error=failure)


def delete(state: Generation, event: GenerationDeleted) -> Generation | IgnoredReason:
    """Also requests the cancellation of a generation that has not ended: nothing is made for a deleted one."""
    if state.deleted_at is not None:
        return IgnoredReason.ALREADY_DELETED
    deleted = state._replace(deleted_at=event.occurred_at)
    if state.status is Status.QUEUED:
        return ended(deleted._replace(cancel_requested=True), event, Status.CANCELED, None)
    return deleted._replace(version=state.version + 1, cancel_requested=state.cancel_requested or not state.terminal)
