"""Which work a change of state calls for. The keys are deterministic: the same change never makes two jobs."""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from gengui_stream.domain.generation import Generation, Status
from gengui_stream.domain.retry import backoff_seconds

JobKind: TypeAlias = Literal["dispatch", "cancel", "thumbnail", "watch"]
"""A `watch` follows a dispatch: no transition makes it, but whoever did the dispatch, when it is done."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work to do once, `delay_seconds` after the change committed. `output_id` is set for thumbnails."""

    key: str
    kind: JobKind
    generation_id: UUID
    attempt: int
    output_id: str | None = None
    delay_seconds: float = 0.0


def jobs_for(before: Generation | None, after: Generation) -> tuple[Job, ...]:
    """The jobs that this transition makes; none for most."""
    if after.status is Status.QUEUED:
        return _dispatch(before, after)
    if after.status is Status.COMPLETED and (before is None or before.status is not Status.COMPLETED):
        return _thumbnails(after)
    if after.cancel_requested and not after.terminal and not (before and before.cancel_requested):
        return (_job("cancel", after),)
    return ()


def _dispatch(before: Generation | None, after: Generation) -> tuple[Job, ...]:
    if before is not None and before.attempt == after.attempt:
        return ()
    delay = _pause_before(after) if before else 0.0
    return (_job("dispatch", after, delay),)


def _pause_before(after: Generation) -> float:
    """Between two attempts: with back-off, and no sooner than the provider wants to hear of us again."""
    wished = after.error.retry_after_s if after.error else None
    return max(wished or 0.0, backoff_seconds(after.attempt - 1, salt=after.generation_id.int))


def _job(kind: JobKind, after: Generation, delay: float = 0.0) -> Job:
    key = f"{kind}:{after.generation_id}:{after.attempt}"
    return Job(key, kind, after.generation_id, after.attempt, None, delay)


def _thumbnails(after: Generation) -> tuple[Job, ...]:
    gid, attempt = after.generation_id, after.attempt
    return tuple(Job(f"thumbnail:{gid}:{o.id}", "thumbnail", gid, attempt, o.id) for o in after.outputs)
