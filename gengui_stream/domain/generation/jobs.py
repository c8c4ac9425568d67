"""The jobs that the state of a generation calls for. Pure; keys are deterministic: equal states never make two jobs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, Literal, TypeAlias
from uuid import UUID

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts, deadline_of
from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation, ProviderPreference, ProviderRun, Status, StoredOutput
from schemas.events import Event

JobKind: TypeAlias = Literal["dispatch", "cancel", "thumbnail", "reconcile", "deletion"]


@dataclass(frozen=True, slots=True)
class Job:
    """Work to do once: due `delay_seconds` after the commit, by PostgreSQL's clock, and at `not_after` at the latest;
    a delay of None is `not_after` itself. `queue` and `owner_id` are set for dispatches, `output_id` for thumbnails,
    `run` for the cancellation of one run, whatever became of its generation."""

    key: str
    kind: JobKind
    generation_id: UUID
    attempt: int
    output_id: str | None = None
    queue: ProviderPreference | None = None
    owner_id: UUID | None = None
    delay_seconds: float | None = 0.0
    not_after: datetime | None = None
    run: ProviderRun | None = None


@dataclass(frozen=True, slots=True)
class JobTimings:
    """When an attempt is reconciled first: `heartbeat_timeouts`, of the providers that have one of their own. When the
    objects of a deleted generation are removed: `deletion_grace` after the deletion."""

    default: AttemptTimeouts
    heartbeat_timeouts: Mapping[str, timedelta] = field(default_factory=dict)
    deletion_grace: timedelta = timedelta(days=1)

    def first_check_s(self, provider: str) -> float:
        return self.heartbeat_timeouts.get(provider, self.default.heartbeat_timeout).total_seconds()


STOPPED: Final = frozenset({Status.TIMED_OUT, Status.CANCELED})
"""The ends after which the attempt may still run at its provider."""

GIVEN_UP: Final = frozenset({"generation.retried", "generation.timed_out"})
"""The events that end an attempt without a report of its own: it may still run."""

NO_JOBS: Final[tuple[Job, ...]] = ()

# All that `due_jobs` reads of a state and an event can change. Most events change none of it: comparing costs 0.5 us,
# making the jobs of both states 15.
_calling: Final = attrgetter(
    "status", "attempt", "provider", "cancel_requested", "deadline", "error", "outputs", "deleted_at", "preference"
)


def due_jobs(state: Generation, timings: JobTimings) -> tuple[Job, ...]:
    """Every open generation has a `reconcile` job: from its request on it ends the generation at its deadline, and once
    the attempt is dispatched it asks the provider after each silence."""
    match state.status:
        case Status.QUEUED:
            return (_dispatch(state, timings), _reconcile(state, timings))
        case Status.DISPATCHED | Status.PROCESSING:
            cancel = (_job("cancel", state),) if state.cancel_requested else NO_JOBS
            return (_reconcile(state, timings), *cancel)
        case Status.COMPLETED:
            return tuple(_thumbnails(state)) if state.deleted_at is None else _deletion(state, timings)
        case _:
            return NO_JOBS


def new_jobs(before: Generation | None, after: Generation, timings: JobTimings) -> tuple[Job, ...]:
    """The jobs that this transition makes or brings forward; none for most."""
    if before is None:
        return due_jobs(after, timings)
    if _calling(before) == _calling(after):
        return NO_JOBS
    known = due_jobs(before, timings)
    return tuple(job for job in due_jobs(after, timings) if job not in known)


def superseded_run(before: Generation | None, after: Generation, event: Event) -> Job | None:
    """Cancels the run of an attempt that was given up: the next attempt takes the place of its id in the state."""
    if before is None or before.run is None or event.type not in GIVEN_UP or after.attempt == before.attempt:
        return None
    return _cancel_run(before.generation_id, before.attempt, before.run)


def late_run(state: Generation | None, event: Event, reason: IgnoredReason) -> Job | None:
    """Cancels a run whose id is learned after its attempt was given up, so that no state ever has it. An attempt that
    ended otherwise has itself reported its end."""
    if state is None or event.type != "generation.accepted":
        return None
    attempt = state.attempt if event.attempt is None else event.attempt
    stopped = reason is IgnoredReason.TERMINAL and (attempt != state.attempt or state.status in STOPPED)
    second = reason is IgnoredReason.ALREADY_ACCEPTED
    if event.provider_job_id == state.provider_job_id or not (
        stopped or second or reason is IgnoredReason.STALE_ATTEMPT
    ):
        return None
    return _cancel_run(
        state.generation_id, attempt, ProviderRun(event.provider, event.provider_job_id, event.endpoint_id)
    )


def _cancel_run(generation_id: UUID, attempt: int, run: ProviderRun) -> Job:
    return Job(f"cancel:{generation_id}:{attempt}:{run.job_id}", "cancel", generation_id, attempt, run=run)


def obsolete_keys(before: Generation | None, after: Generation) -> tuple[str, ...]:
    """The keys of the jobs that this transition makes pointless. The `reconcile` job of an attempt that ran stays: it
    stops what still runs at the provider."""
    if before is None or before.terminal or not (after.terminal or after.attempt != before.attempt):
        return ()
    dispatch = _key("dispatch", before)
    return (dispatch, _key("reconcile", before)) if before.status is Status.QUEUED else (dispatch,)


def _dispatch(state: Generation, timings: JobTimings) -> Job:
    first = state.attempt == 1
    return Job(
        key=_key("dispatch", state),
        kind="dispatch",
        generation_id=state.generation_id,
        attempt=state.attempt,
        queue=state.preference,
        owner_id=state.owner_id,
        delay_seconds=0.0 if first else _pause_before(state),
        not_after=None if first else deadline_of(state, timings.default),
    )


def _pause_before(state: Generation) -> float:
    """Between two attempts: back-off, and the pause that a provider without a fallback asks for. Where there is a
    fallback, the pause concerns the provider alone."""
    requested_s = state.error.retry_after_s if state.error and state.preference.pinned else None
    return max(requested_s or 0.0, backoff_seconds(state.attempt - 1, salt=state.generation_id.int))


def _reconcile(state: Generation, timings: JobTimings) -> Job:
    return Job(
        key=_key("reconcile", state),
        kind="reconcile",
        generation_id=state.generation_id,
        attempt=state.attempt,
        delay_seconds=None if state.status is Status.QUEUED else timings.first_check_s(state.provider),
        not_after=deadline_of(state, timings.default),
    )


def _job(kind: JobKind, state: Generation) -> Job:
    return Job(_key(kind, state), kind, state.generation_id, state.attempt)


def _key(kind: JobKind, state: Generation) -> str:
    return f"{kind}:{state.generation_id}:{state.attempt}"


def _thumbnails(state: Generation) -> Iterator[Job]:
    gid, attempt = state.generation_id, state.attempt
    for output in state.outputs:
        if output.open:
            yield Job(thumbnail_key(gid, output), "thumbnail", gid, attempt, output.id)


def _deletion(state: Generation, timings: JobTimings) -> tuple[Job, ...]:
    if not state.outputs:
        return NO_JOBS
    return (replace(_job("deletion", state), delay_seconds=timings.deletion_grace.total_seconds()),)


def thumbnail_key(generation_id: UUID, output: StoredOutput) -> str:
    """The key of the job that makes the thumbnail that was requested last."""
    revision = output.thumbnail_revision
    return f"thumbnail:{generation_id}:{output.id}" + (f":{revision}" if revision > 1 else "")
