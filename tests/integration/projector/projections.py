"""Records for a projector, and the rows that it wrote."""

from collections.abc import Sequence
from typing import Final

from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import Projector
from schemas.events import Event
from tests.events import FakeRecord, record_of, wide_history
from tests.timings import TIMINGS

TOPIC: Final = "any.topic"

TABLES: Final = (
    "projections.generation_requests",
    "projections.generation_states",
    "projections.timeline",
    "projections.daily_counts",
    "projections.provider_minutes",
    "projections.provider_latencies",
    "projections.provider_usage",
    "projections.dead_letters",
)


def a_log(*histories: Sequence[Event], first: int = 0) -> list[FakeRecord]:
    """These events in sequence, from the offset `first` on."""
    events = [event for history in histories for event in history]
    return [record_of(event, first + place) for place, event in enumerate(events)]


def three_generations() -> list[FakeRecord]:
    """Their events alternate."""
    histories = [wide_history(number) for number in range(3)]
    return a_log([event for step in zip(*histories, strict=True) for event in step])


async def contents(pool: Pool) -> dict[str, object]:
    """Every table that a fold of the log may write, and the counts of the checkpoints."""
    rows = "SELECT to_jsonb(t) - 'created_at' FROM {} t"  # of the log alone, not of the time at which it was folded
    held = {table: sorted(map(str, await pool.fetch(rows.format(table)))) for table in TABLES}
    jobs = "SELECT job_key, kind, generation_id, attempt, output_id FROM jobs.jobs ORDER BY 1"
    counts = "SELECT next_offset, applied, ignored, dead_lettered FROM projections.checkpoints ORDER BY partition"
    return {**held, "jobs": list(map(tuple, await pool.fetch(jobs))), "at": list(map(tuple, await pool.fetch(counts)))}


async def a_projector(pool: Pool, *, log_end: int = 0) -> Projector:
    """Of partition 0. `log_end`: until its checkpoint is there, it catches up."""
    started = Projector(pool, TOPIC, TIMINGS)
    await started.claim([0], {0: log_end})
    return started


async def lose_everything(pool: Pool) -> None:
    """Of the projections and jobs: as after the loss of PostgreSQL and a migration."""
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}, jobs.jobs, jobs.partition_owners, projections.checkpoints")


async def plainly(pool: Pool, records: Sequence[FakeRecord]) -> dict[str, object]:
    """The result without faults: folded one record at a time, then removed again."""
    plain = await a_projector(pool)
    for record in records:
        await plain.project(0, [record])
    expected = await contents(pool)
    await lose_everything(pool)
    return expected
