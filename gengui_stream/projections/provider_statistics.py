"""Attempts dispatched and ended, and the duration of completed runs, by provider, model and minute."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from gengui_stream.domain.generation.state import TERMINAL, Generation, Status
from gengui_stream.postgres.bulk import Write
from gengui_stream.projections.outcomes import Applied, Outcome

Key: TypeAlias = tuple[str, str, datetime, str]
"""Provider, model, minute, and one of MEASURES."""

LatencyKey: TypeAlias = tuple[str, str, datetime, int]
"""Provider, model, minute, and the upper bound of a bucket."""

MEASURES: Final = ("dispatched", "completed", "failed", "canceled", "timed_out", "moderated")

BUCKETS_MS: Final = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000)
MORE: Final = 2_147_483_647

UPSERT_MINUTES: Final = """
INSERT INTO projections.provider_minutes AS m
    (provider, model, minute, partition, dispatched, completed, failed, canceled, timed_out, moderated)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::smallint[], $5::bigint[], $6::bigint[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
ON CONFLICT (provider, model, minute, partition) DO UPDATE SET
    dispatched = m.dispatched + EXCLUDED.dispatched, completed = m.completed + EXCLUDED.completed,
    failed = m.failed + EXCLUDED.failed, canceled = m.canceled + EXCLUDED.canceled,
    timed_out = m.timed_out + EXCLUDED.timed_out, moderated = m.moderated + EXCLUDED.moderated
"""

UPSERT_LATENCIES: Final = """
INSERT INTO projections.provider_latencies AS l (provider, model, minute, partition, at_most_ms, completions)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::smallint[], $5::int[], $6::bigint[])
ON CONFLICT (provider, model, minute, partition, at_most_ms) DO UPDATE SET
    completions = l.completions + EXCLUDED.completions
"""


def count(outcomes: Iterable[Outcome]) -> Counter[Key]:
    """The counts by minute that these outcomes add."""
    counts: Counter[Key] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Applied) and (measure := _measure(outcome)) is not None:
            counts[outcome.after.provider, outcome.after.model, _minute(outcome.event.occurred_at), measure] += 1
    return counts


def _measure(outcome: Applied) -> str | None:
    if outcome.before is None or outcome.before.status in TERMINAL:
        return None
    match outcome.event.type:
        case "generation.dispatched":
            return "dispatched"
        case "generation.failed":
            return "failed"
        case _:
            return outcome.after.status.value if outcome.after.status in TERMINAL else None


def count_latencies(outcomes: Iterable[Outcome]) -> Counter[LatencyKey]:
    """The histogram counts that these outcomes add: from started to completed."""
    counts: Counter[LatencyKey] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Applied) and (run_ms := _run_ms(outcome)) is not None:
            minute = _minute(outcome.event.occurred_at)
            counts[outcome.after.provider, outcome.after.model, minute, bucket(run_ms)] += 1
    return counts


def _run_ms(outcome: Applied) -> float | None:
    newly = outcome.before is not None and outcome.before.status is not Status.COMPLETED
    return run_milliseconds(outcome.after) if newly and outcome.after.status is Status.COMPLETED else None


def run_milliseconds(state: Generation) -> float | None:
    """From `started_at` to `ended_at`; never negative, although the two clocks may differ."""
    if state.started_at is None or state.ended_at is None:
        return None
    return max(0.0, (state.ended_at - state.started_at).total_seconds() * 1000)


def bucket(run_ms: float) -> int:
    """The upper bound of the bucket that holds `run_ms`."""
    index = bisect_left(BUCKETS_MS, run_ms)
    return BUCKETS_MS[index] if index < len(BUCKETS_MS) else MORE


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def rows_of(counts: Counter[Key], partition: int) -> list[tuple[object, ...]]:
    keys = sorted({key[:3] for key in counts})
    return [(*key, partition, *(counts[*key, measure] for measure in MEASURES)) for key in keys]


def latency_rows_of(counts: Counter[LatencyKey], partition: int) -> list[tuple[object, ...]]:
    return [(*key[:3], partition, key[3], counts[key]) for key in sorted(counts)]


def write(rows: list[tuple[object, ...]]) -> Write:
    return Write(UPSERT_MINUTES, rows)


def write_latencies(rows: list[tuple[object, ...]]) -> Write:
    return Write(UPSERT_LATENCIES, rows)
