"""What attempts used at a provider: runs, images and the time for which they ran, by model and UTC day of their end.

The provider's own times count where the log has them: the reconciliation appends the start and the end of a run by
RunPod's `delayTime` and `executionTime`. Otherwise it is the worker's clock.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.postgres.bulk import Write
from gengui_stream.projections.outcomes import Applied, Outcome
from schemas.events import Event

Key: TypeAlias = tuple[str, str, date, str]
"""Provider, model, day, and one of MEASURES."""

MEASURES: Final = ("runs", "images", "run_ms")

GIVEN_UP: Final = frozenset({"generation.retried", "generation.timed_out"})
"""Ends of an attempt that is silent: it is counted up to its last sign of life."""

UPSERT: Final = """
INSERT INTO projections.provider_usage AS u (provider, model, day, partition, runs, images, run_ms)
SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[])
ON CONFLICT (provider, model, day, partition) DO UPDATE SET
    runs = u.runs + EXCLUDED.runs, images = u.images + EXCLUDED.images, run_ms = u.run_ms + EXCLUDED.run_ms
"""


def count(outcomes: Iterable[Outcome]) -> Counter[Key]:
    """What these outcomes add."""
    counts: Counter[Key] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Applied) and outcome.before is not None and _ends_run(outcome.before, outcome.after):
            after, event = outcome.after, outcome.event
            key = after.provider, after.model, event.occurred_at.astimezone(UTC).date()
            counts[*key, "runs"] += 1
            counts[*key, "images"] += len(after.outputs) if after.status is Status.COMPLETED else 0
            counts[*key, "run_ms"] += _run_ms(outcome.before, event)
    return counts


def _ends_run(before: Generation, after: Generation) -> bool:
    """An attempt that ended before it started used nothing; a result shows that it started."""
    ends = not before.terminal and (after.terminal or after.attempt != before.attempt)
    return ends and (before.started_at is not None or after.status is Status.COMPLETED)


def _run_ms(before: Generation, event: Event) -> int:
    """Never negative, although the two clocks may differ."""
    ended_at = before.last_heard_at if event.type in GIVEN_UP else event.occurred_at
    return max(0, _milliseconds(before.started_at, ended_at))


def _milliseconds(started_at: datetime | None, ended_at: datetime) -> int:
    return 0 if started_at is None else (ended_at - started_at) // timedelta(milliseconds=1)


def rows_of(counts: Counter[Key], partition: int) -> list[tuple[object, ...]]:
    keys = sorted({key[:3] for key in counts})
    return [(*key, partition, *(counts[*key, measure] for measure in MEASURES)) for key in keys]


def write(rows: list[tuple[object, ...]]) -> Write:
    return Write(UPSERT, rows)
