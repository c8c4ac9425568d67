"""Commands: what each appends to the log, given the state of the generation, or why it is refused. Pure.

The fold decides last: when the generation moves on between a decision and its append, the fold ignores the event.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias
from uuid import UUID

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts, deadline_of
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.domain.generation.state import Generation, Status, StoredOutput
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
"""The events to append, in order; none when the command has been carried out before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestParameters:
    """What a new generation is made of. `time_limit`: from the request to its deadline."""

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
    """Always possible: what a provider cannot do is refused before, by the provider's capabilities."""
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
    """An ended generation stays as it is; a second request changes nothing."""
    if state.terminal or state.cancel_requested:
        return ()
    return (GenerationCancelRequested(**stamp.envelope(state.generation_id)),)


def delete(state: Generation, stamp: EventStamp) -> Decision:
    if state.deleted_at is not None:
        return ()
    return (GenerationDeleted(**stamp.envelope(state.generation_id)),)


def retry(state: Generation) -> Rejection | None:
    """Whether a new generation may be requested in place of this one."""
    if state.terminal:
        return None
    return Rejection("not_ended", f"it is {state.status}; only an ended generation can be retried")


def request_thumbnail(state: Generation, output: StoredOutput, stamp: EventStamp) -> ThumbnailRequested:
    """The next revision of the thumbnail; the one there is stays until then."""
    return ThumbnailRequested(
        **stamp.envelope(state.generation_id), output_id=output.id, revision=output.thumbnail_revision + 1
    )


class DispatchStep(Enum):
    """How a dispatch job goes on."""

    SKIP = auto()
    CANCEL = auto()
    EXPIRE = auto()
    ANNOUNCE_AND_CALL = auto()
    CALL = auto()
    RECONCILE = auto()


def dispatch(
    state: Generation, attempt: int, now: datetime, timeouts: AttemptTimeouts, *, repeatable: bool
) -> DispatchStep:
    """A job that is done again after a crash goes on where the log says it was: an announced attempt may be running, so
    its provider is called again only where a second call starts nothing new (`repeatable`)."""
    if state.terminal or state.attempt != attempt:
        return DispatchStep.SKIP
    if state.cancel_requested:
        return DispatchStep.CANCEL
    if now >= deadline_of(state, timeouts):
        return DispatchStep.EXPIRE
    match state.status:
        case Status.QUEUED:
            return DispatchStep.ANNOUNCE_AND_CALL
        case Status.DISPATCHED:
            return DispatchStep.CALL if repeatable else DispatchStep.RECONCILE
        case _:
            return DispatchStep.RECONCILE
