"""The jobs that a transition creates. Keys are deterministic: the same transition never creates two jobs."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.state import Generation, Status, StoredOutput

JobKind: TypeAlias = Literal["dispatch", "cancel", "thumbnail", "reconcile"]
"""No transition creates a `reconcile` job: the dispatcher does, when it finishes the `dispatch` job."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work to do once: due `delay_seconds` after the commit, by PostgreSQL's clock, and at `not_after` at the latest.
    `output_id` is set for thumbnails."""

    key: str
    kind: JobKind
    generation_id: UUID
    attempt: int
    output_id: str | None = None
    delay_seconds: float = 0.0
    not_after: datetime | None = None


def jobs_for(before: Generation | None, after: Generation) -> tuple[Job, ...]:
    """The jobs that this transition makes; none for most."""
    if after.status is Status.QUEUED:
        return _dispatch(before, after)
    if after.status is Status.COMPLETED:
        return _thumbnails(before, after)
    if after.cancel_requested and not after.terminal and not (before and before.cancel_requested):
        return (_job("cancel", after),)
    return ()


def _dispatch(before: Generation | None, after: Generation) -> tuple[Job, ...]:
    if before is not None and before.attempt == after.attempt:
        return ()
    if before is None:
        return (_job("dispatch", after),)
    # At its deadline the generation times out, however long its provider asked for a pause.
    return (replace(_job("dispatch", after), delay_seconds=_pause_before(after), not_after=after.deadline),)


def _pause_before(after: Generation) -> float:
    """Between two attempts: back-off, and at least the pause that the provider asks for."""
    requested_s = after.error.retry_after_s if after.error else None
    return max(requested_s or 0.0, backoff_seconds(after.attempt - 1, salt=after.generation_id.int))


def _job(kind: JobKind, after: Generation) -> Job:
    return Job(f"{kind}:{after.generation_id}:{after.attempt}", kind, after.generation_id, after.attempt)


def _thumbnails(before: Generation | None, after: Generation) -> tuple[Job, ...]:
    """One job for each output whose thumbnail was requested by this transition: by its completion or by a request."""
    requested = {output.id: output.thumbnail_revision for output in before.outputs} if before else {}
    gid, attempt = after.generation_id, after.attempt
    return tuple(
        Job(thumbnail_key(gid, output), "thumbnail", gid, attempt, output.id)
        for output in after.outputs
        if output.open and output.thumbnail_revision > requested.get(output.id, 0)
    )


def thumbnail_key(generation_id: UUID, output: StoredOutput) -> str:
    """The key of the job that makes the thumbnail that was requested last."""
    revision = output.thumbnail_revision
    return f"thumbnail:{generation_id}:{output.id}" + (f":{revision}" if revision > 1 else "")
