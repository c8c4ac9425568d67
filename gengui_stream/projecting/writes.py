"""All read models together: everything that follows from a batch of records is written in one transaction."""

from collections.abc import Sequence

from gengui_stream.postgres.bulk import Write, execute_writes
from gengui_stream.postgres.pool import Connection
from gengui_stream.projections import (
    daily_counts,
    dead_letters,
    generation_requests,
    generation_states,
    job_rows,
    provider_statistics,
    provider_usage,
    timeline,
)
from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.projections.outcomes import Outcome, transitions


async def write_read_models(
    connection: Connection, topic: str, partition: int, outcomes: Sequence[Outcome], jobs: JobChanges
) -> None:
    """Runs in the caller's transaction. `outcomes` are in the order of the log."""
    await execute_writes(connection, writes_of(topic, partition, outcomes, jobs))


def writes_of(topic: str, partition: int, outcomes: Sequence[Outcome], jobs: JobChanges) -> tuple[Write, ...]:
    """One write for each table, always in the same order, including those without rows."""
    moved = transitions(outcomes)
    minutes = provider_statistics.rows_of(provider_statistics.count(moved), partition)
    latencies = provider_statistics.latency_rows_of(provider_statistics.count_latencies(moved), partition)
    return (
        generation_requests.write(generation_requests.rows_of(moved)),
        generation_states.write(generation_states.rows_of(outcomes, partition)),
        timeline.write(timeline.rows_of(outcomes, partition)),
        daily_counts.write(daily_counts.rows_of(daily_counts.count(moved), partition)),
        provider_statistics.write(minutes),
        provider_statistics.write_latencies(latencies),
        provider_usage.write(provider_usage.rows_of(provider_usage.count(moved), partition)),
        dead_letters.write(dead_letters.rows_of(outcomes, topic, partition)),
        job_rows.write(jobs.made, partition),
        job_rows.write_obsolete(jobs.obsolete),
    )


def together(batches: Sequence[Sequence[Write]]) -> list[Write]:
    """The writes of several batches, merged by table; tables without rows are left out."""
    tables = [
        Write(parts[0].statement, [row for part in parts for row in part.rows], parts[0].instants)
        for parts in zip(*batches, strict=True)
    ]
    return [table for table in tables if table.rows]
