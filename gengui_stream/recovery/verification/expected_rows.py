"""The rows that a verification expects, made from events and states by itself: it shares the fold of a generation and
the format of the log with the projector, and nothing that makes, batches or writes rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Final, NamedTuple, assert_never
from uuid import UUID

import orjson

from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.log.codec import Undecodable, UnknownType, plausible_time
from gengui_stream.projections.outcomes import Applied, DeadLettered, Forwarded, Ignored, Outcome
from schemas.events import Event, GenerationRequested

STATE_COLUMNS: Final = (
    *("generation_id", "partition", "log_offset", "status", "version", "attempt", "provider", "percent", "stage"),
    *("cancel_requested", "dispatched_at", "started_at", "ended_at", "heartbeat_at", "deleted_at", "outputs", "error"),
    *("provider_model", "provider_job_id", "endpoint_id", "duplicates", "settled"),
)
DOCUMENTS: Final = ("outputs", "error", "duplicates")


REQUEST_COLUMNS: Final = (
    *("generation_id", "owner_id", "prompt", "seed", "width", "height", "model", "provider", "max_attempts"),
    *("deadline", "retried_from", "correlation_id", "traceparent", "requested_at", "provider_pinned"),
)

ENDS: Final = ("completed", "failed", "canceled", "timed_out", "moderated")
MEASURES: Final = {
    "daily_counts": ("requested", *ENDS),
    "provider_minutes": ("dispatched", *ENDS),
    "provider_latencies": ("completions",),
    "provider_usage": ("runs", "images", "run_ms"),
}
LATENCY_BOUNDS_MS: Final = (50, 100, 250, 500, 1000, 2500, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 2**31 - 1)

LATEST_APPEND_MS: Final = 4_102_444_800_000  # the year 2100


class TimelineRow(NamedTuple):
    """`payload`: the digest of the record's value."""

    generation_id: UUID
    partition: int
    log_offset: int
    owner_id: UUID | None
    event_id: UUID | None
    type: str
    attempt: int | None
    occurred_at: datetime | None
    appended_at: datetime
    version: int | None
    status: str | None
    ignored: str | None
    payload: str


class Transition(NamedTuple):
    """A change of a generation by the event at `offset`."""

    before: Generation | None
    after: Generation
    event: Event
    offset: int

    @property
    def applied(self) -> bool:
        """False for an event that changed nothing but what recognises duplicates."""
        return self.before is None or self.before.version != self.after.version


def canonical(values: Sequence[object]) -> bytes:
    """Equal for equal rows, from the database or from the fold."""
    return orjson.dumps(list(values), default=str, option=orjson.OPT_SORT_KEYS)  # asyncpg has a UUID of its own


def state_row(state: Generation, partition: int, changed_at: int) -> list[object]:
    """In the order of STATE_COLUMNS, with the JSON columns as documents."""
    own = {
        "partition": partition,
        "log_offset": changed_at,
        "provider_model": state.model,
        "outputs": [_output(output) for output in state.outputs] or None,
        "error": asdict(state.error) if state.error else None,
        "duplicates": asdict(state.duplicates) if state.duplicates else None,
    }
    return [own[name] if name in own else _utc(getattr(state, name)) for name in STATE_COLUMNS]


def _output(output: StoredOutput) -> dict[str, object]:
    """A first revision is left out."""
    document = asdict(output)
    if output.thumbnail_revision == 1:
        del document["thumbnail_revision"]
    if output.thumbnail is not None and output.thumbnail.revision == 1:
        del document["thumbnail"]["revision"]
    return document


def request_row(event: GenerationRequested) -> tuple[object, ...]:
    """In the order of REQUEST_COLUMNS."""
    choice = event.provider_choice
    own = {"requested_at": event.occurred_at, "provider_pinned": choice is None or choice.source == "request"}
    return tuple(own[name] if name in own else getattr(event, name) for name in REQUEST_COLUMNS)


def timeline_row(outcome: Outcome, partition: int) -> TimelineRow | None:
    """None for a record that the timeline lacks."""
    match outcome:
        case DeadLettered():
            return None
        case Applied(event=event, after=after):
            return _row(outcome, event, after, None, partition)
        case Ignored(event=read, state=state, reason=reason):
            return _row(outcome, read, state, reason.value, partition)
        case Forwarded(decoded=decoded):
            if isinstance(decoded, Undecodable):  # the right partition keeps it, as a dead letter
                return None
            return _row(outcome, decoded, None, "wrong_partition", partition)
        case _:
            assert_never(outcome)


def _row(
    outcome: Outcome, read: Event | UnknownType, state: Generation | None, reason: str | None, partition: int
) -> TimelineRow | None:
    record, value = outcome.record, outcome.record.value or b""
    appended = datetime.fromtimestamp(min(max(record.timestamp or 0, 0), LATEST_APPEND_MS) / 1000, UTC)
    owner = state.owner_id if state else None
    after = (appended, state.version, state.status.value) if state else (appended, None, None)
    ending = (*after, reason, md5(value, usedforsecurity=False).hexdigest())
    if isinstance(read, UnknownType):
        if read.generation_id is None:
            return None
        return TimelineRow(read.generation_id, partition, record.offset, owner, None, read.type, None, None, *ending)
    moment = read.occurred_at if plausible_time(read.occurred_at, record.timestamp) else None
    begin = (read.generation_id, partition, record.offset, owner, read.id, read.type, read.attempt, moment)
    return TimelineRow(*begin, *ending)


def counts_of(transitions: Iterable[Transition]) -> dict[str, Counter[tuple[str, str]]]:
    """For each table of counts, what these transitions add, by key and measure."""
    counts: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in MEASURES}
    for transition in transitions:
        if not transition.applied:
            continue
        _count_day(counts["daily_counts"], transition)
        if transition.before is not None and not transition.before.terminal:
            _count_minute(counts["provider_minutes"], transition)
            _count_latency(counts["provider_latencies"], transition)
            _count_usage(counts["provider_usage"], transition)
    return counts


def count_key(*values: object) -> str:
    return canonical(values).decode()


def _count_day(counts: Counter[tuple[str, str]], transition: Transition) -> None:
    before, after, event, _ = transition
    if before is None:
        counts[count_key(after.owner_id, after.requested_at.astimezone(UTC).date()), "requested"] += 1
    elif after.terminal and not before.terminal:
        counts[count_key(after.owner_id, event.occurred_at.astimezone(UTC).date()), after.status.value] += 1


def _count_minute(counts: Counter[tuple[str, str]], transition: Transition) -> None:
    """A retried failure of an attempt counts as one, too."""
    after, event = transition.after, transition.event
    attempts = {"generation.dispatched": "dispatched", "generation.failed": "failed"}
    measure = attempts.get(event.type, after.status.value if after.terminal else None)
    if measure is not None:
        counts[count_key(after.provider, after.model, _minute(event.occurred_at)), measure] += 1


def _count_latency(counts: Counter[tuple[str, str]], transition: Transition) -> None:
    after = transition.after
    if after.status.value == "completed" and after.started_at is not None and after.ended_at is not None:
        run_ms = (after.ended_at - after.started_at).total_seconds() * 1000
        bound = next(bound for bound in LATENCY_BOUNDS_MS if run_ms <= bound)
        key = count_key(after.provider, after.model, _minute(transition.event.occurred_at), bound)
        counts[key, "completions"] += 1


def _count_usage(counts: Counter[tuple[str, str]], transition: Transition) -> None:
    """Of an attempt that ends, with or without the generation, if it ran."""
    before, after, event, _ = transition
    completed = after.status.value == "completed"
    if before is None or not (after.terminal or after.attempt > before.attempt):
        return
    if before.started_at is None and not completed:
        return
    silent = event.type in {"generation.retried", "generation.timed_out"}
    ended_at = before.last_heard_at if silent else event.occurred_at
    run_ms = (ended_at - (before.started_at or ended_at)) // timedelta(milliseconds=1)
    key = count_key(after.provider, after.model, event.occurred_at.astimezone(UTC).date())
    counts[key, "runs"] += 1
    counts[key, "images"] += len(after.outputs) if completed else 0
    counts[key, "run_ms"] += max(0, run_ms)


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
