"""The number of generations that each owner requested, by outcome and UTC day."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.domain.generation.state import TERMINAL
from gengui_stream.postgres.bulk import Write
from gengui_stream.projections.outcomes import Applied, Outcome

Key: TypeAlias = tuple[UUID, date, str]
"""Owner, day, and one of MEASURES."""

MEASURES: Final = ("requested", "completed", "failed", "canceled", "timed_out", "moderated")

UPSERT: Final = """
INSERT INTO projections.daily_counts AS c
    (owner_id, day, partition, requested, completed, failed, canceled, timed_out, moderated)
SELECT * FROM unnest($1::uuid[], $2::date[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[])
ON CONFLICT (owner_id, day, partition) DO UPDATE SET
    requested = c.requested + EXCLUDED.requested, completed = c.completed + EXCLUDED.completed,
    failed = c.failed + EXCLUDED.failed, canceled = c.canceled + EXCLUDED.canceled,
    timed_out = c.timed_out + EXCLUDED.timed_out, moderated = c.moderated + EXCLUDED.moderated
"""


def count(outcomes: Iterable[Outcome]) -> Counter[Key]:
    """The counts that these outcomes add."""
    counts: Counter[Key] = Counter()
    for outcome in outcomes:
        if not isinstance(outcome, Applied):
            continue
        after = outcome.after
        if outcome.before is None:
            counts[after.owner_id, _day(after.requested_at), "requested"] += 1
        elif after.status in TERMINAL and outcome.before.status not in TERMINAL:
            counts[after.owner_id, _day(outcome.event.occurred_at), after.status.value] += 1
    return counts


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def rows_of(counts: Counter[Key], partition: int) -> list[tuple[object, ...]]:
    keys = sorted({(owner, day) for owner, day, _ in counts})
    return [(owner, day, partition, *(counts[owner, day, measure] for measure in MEASURES)) for owner, day in keys]


def write(rows: list[tuple[object, ...]]) -> Write:
    return Write(UPSERT, rows)
