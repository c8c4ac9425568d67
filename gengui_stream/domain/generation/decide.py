"""Commands: the events that each appends, given the state of the generation, or the reason why it is rejected. Pure.

The fold has the last word: if the generation changes between a decision and its append, the fold ignores the event.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias
from uuid import UUID

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts, deadline_of
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.domain.generation.state import TERMINAL, Generation, Status, StoredOutput
from schemas.events import (
    Event,
    GenerationCancelRequested,
    GenerationDeleted,
    GenerationRequested,
    ProviderChoice,
    ThumbnailRequested,
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refusal that the caller can expect. `code` is for programs, `detail` a sentence for people."""

    code: str
    detail: str


Decision: TypeAlias = tuple[Event, ...] | Rejection
"""The events to append, in order; empty when the command was carried out before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestParameters:
    """The parameters of a new generation. `time_limit` runs from the request to the deadline."""

    owner_id: UUID
    prompt: str
    seed: int
    width: int
    height: int
    model: str
    provider: str
    provider_choice: ProviderChoice
    max_attempts: int
    time_limit: timedelta
    retried_from: UUID | None = None


def request(generation_id: UUID, asked: RequestParameters, stamp: EventStamp) -> GenerationRequested:
    """Never rejects: the caller has checked the parameters against the provider's capabilities."""
    return GenerationRequested(
        **stamp.envelope(generation_id),
        attempt=1,
        owner_id=asked.owner_id,
        prompt=asked.prompt,
        seed=asked.seed,
        width=asked.width,
        height=asked.height,
        model=asked.model,
        provider=asked.provider,
        provider_choice=asked.provider_choice,
        max_attempts=asked.max_attempts,
        deadline=stamp.occurred_at + asked.time_limit,
        retried_from=asked.retried_from,
    )


def cancel(state: Generation, stamp: EventStamp) -> Decision:
    """An ended generation stays as it is; a repeated request changes nothing."""
    if state.terminal or state.cancel_requested:
        return ()
    return (GenerationCancelRequested(**stamp.envelope(state.generation_id)),)


def delete(state: Generation, stamp: EventStamp) -> Decision:
    if state.deleted_at is not None:
        return ()
    return (GenerationDeleted(**stamp.envelope(state.generation_id)),)


def retry(status: Status) -> Rejection | None:
    """Whether a new generation may be requested in place of this one."""
    if status in TERMINAL:
        return None
    return Rejection("not_ended", f"it is {status}; only an ended generation can be retried")


def request_thumbnail(state: Generation, output: StoredOutput, stamp: EventStamp) -> ThumbnailRequested:
    """Requests the next revision of the thumbnail; the present one stays until the new one is stored."""
    return ThumbnailRequested(
        **stamp.envelope(state.generation_id), output_id=output.id, revision=output.thumbnail_revision + 1
    )


class DispatchStep(Enum):
    """The next step of a dispatch job."""

    SKIP = auto()
    ANNOUNCE_AND_CALL = auto()
    CALL = auto()


def dispatch(
    state: Generation, attempt: int, now: datetime, timeouts: AttemptTimeouts, *, repeatable: bool
) -> DispatchStep:
    """A job that is repeated after a crash continues from what the log records: an announced attempt may be running, so
    its provider is called again only where a repeated call starts no second run (`repeatable`). Otherwise, and after a
    request to cancel or the deadline, the other jobs of the attempt find out what became of it, or end it."""
    if state.terminal or state.attempt != attempt or state.cancel_requested:
        return DispatchStep.SKIP
    if now >= deadline_of(state, timeouts):
        return DispatchStep.SKIP
    match state.status:
        case Status.QUEUED:
            return DispatchStep.ANNOUNCE_AND_CALL
        case Status.DISPATCHED:
            return DispatchStep.CALL if repeatable else DispatchStep.SKIP
        case _:
            return DispatchStep.SKIP
