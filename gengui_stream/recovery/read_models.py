"""Compares the read models with one row a generation, day or minute, once a partition is folded."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.postgres.pool import Connection
from gengui_stream.projections import daily_counts, generation_states, provider_statistics
from gengui_stream.recovery.reference_fold import PartitionFold
from gengui_stream.recovery.report import Report

DAY_COLUMNS: Final = ("owner_id", "day", "partition", *daily_counts.MEASURES)
MINUTE_COLUMNS: Final = ("provider", "model", "minute", "partition", *provider_statistics.MEASURES)
LATENCY_COLUMNS: Final = ("provider", "model", "minute", "partition", "at_most_ms", "completions")
JOB_COLUMNS: Final = ("job_key", "kind", "generation_id", "attempt", "output_id")

# Without reconcile jobs: the dispatcher creates them, so they do not follow from the log.
JOBS: Final = """
SELECT job_key, j.kind, generation_id, j.attempt, j.output_id FROM jobs.jobs j JOIN projections.generation_states s
    USING (generation_id)
WHERE s.partition = $1 AND j.kind <> 'reconcile'
"""

STATES: Final = "SELECT * FROM projections.generation_states WHERE partition = $1"

COUNTED: Final = {
    "daily_counts": "SELECT * FROM projections.daily_counts WHERE partition = $1",
    "provider_minutes": "SELECT * FROM projections.provider_minutes WHERE partition = $1",
    "provider_latencies": "SELECT * FROM projections.provider_latencies WHERE partition = $1",
}

# Rows of partitions that were not folded, which no other comparison covers.
STRAYS: Final = {
    "generation_states": "SELECT generation_id::text FROM projections.generation_states WHERE partition <> ALL($1)",
    "timeline": """
        SELECT generation_id || ' ' || partition || ':' || log_offset FROM projections.timeline
        WHERE partition <> ALL($1)""",
    "daily_counts": """
        SELECT owner_id || ' ' || day || ' ' || partition FROM projections.daily_counts WHERE partition <> ALL($1)""",
    "provider_minutes": """
        SELECT provider || ' ' || model || ' ' || minute || ' ' || partition FROM projections.provider_minutes
        WHERE partition <> ALL($1)""",
    "provider_latencies": """
        SELECT provider || ' ' || model || ' ' || minute || ' ' || partition FROM projections.provider_latencies
        WHERE partition <> ALL($1)""",
    "generation_requests": """
        SELECT generation_id::text FROM projections.generation_requests r WHERE $1::int[] IS NOT NULL
        AND NOT EXISTS (SELECT FROM projections.generation_states s WHERE s.generation_id = r.generation_id)""",
    "jobs": """
        SELECT job_key FROM jobs.jobs j WHERE $1::int[] IS NOT NULL
        AND NOT EXISTS (SELECT FROM projections.generation_states s WHERE s.generation_id = j.generation_id)""",
}


async def compare(connection: Connection, report: Report, partition: int, fold: PartitionFold) -> None:
    """Compares the rows that depend on the whole partition."""
    await _compare_states(connection, report, partition, fold)
    await _compare_jobs(connection, report, partition, fold)
    counted = (
        ("daily_counts", DAY_COLUMNS, 3, daily_counts.rows_of(fold.days, partition)),
        ("provider_minutes", MINUTE_COLUMNS, 4, provider_statistics.rows_of(fold.minutes, partition)),
        ("provider_latencies", LATENCY_COLUMNS, 5, provider_statistics.latency_rows_of(fold.latencies, partition)),
    )
    for table, columns, keys, rows in counted:
        found = await connection.fetch(COUNTED[table], partition)
        compare_rows(report, table, columns, key=range(keys), expected=rows, found=in_order(columns, found))


async def _compare_states(connection: Connection, report: Report, partition: int, fold: PartitionFold) -> None:
    table, unseen = "generation_states", set(fold.known.states)
    async for row in _scan(connection, STATES, partition):
        generation_id: UUID = row["generation_id"]
        state = fold.known.states.get(generation_id)
        if state is None:
            report.unexpected(table, str(generation_id))
            continue
        unseen.discard(generation_id)
        expected = generation_states.row_of(state, partition, fold.changed_at[generation_id])
        [found] = in_order(generation_states.COLUMNS, [row])
        report.compare(table, str(generation_id), generation_states.COLUMNS, expected, found)
    for generation_id in unseen:
        report.missing(table, str(generation_id))


async def _compare_jobs(connection: Connection, report: Report, partition: int, fold: PartitionFold) -> None:
    """Compares keys and subjects only: the progress of a job does not follow from the log."""
    unseen = dict(fold.jobs)
    async for row in _scan(connection, JOBS, partition):
        job = unseen.pop(row["job_key"], None)
        if job is None:
            report.unexpected("jobs", row["job_key"])
            continue
        expected = (job.key, job.kind, job.generation_id, job.attempt, job.output_id)
        report.compare("jobs", job.key, JOB_COLUMNS, expected, tuple(row))
    for key in unseen:
        report.missing("jobs", key)


async def compare_strays(connection: Connection, report: Report, partitions: Sequence[int]) -> None:
    for table, query in STRAYS.items():
        async for row in _scan(connection, query, partitions):
            report.unexpected(table, row[0])


def in_order(columns: Sequence[str], rows: Iterable[asyncpg.Record]) -> list[tuple[object, ...]]:
    """The values of these columns, whatever the order of the columns in the table."""
    return [tuple(row[name] for name in columns) for row in rows]


def compare_rows(
    report: Report,
    table: str,
    columns: Sequence[str],
    *,
    key: Iterable[int],
    expected: Iterable[Sequence[object]],
    found: Iterable[Sequence[object]],
) -> None:
    """Compares two sets of rows with the same columns, matched by the columns whose indexes are in `key`."""
    indexes = tuple(key)
    unseen = {tuple(row[index] for index in indexes): row for row in expected}
    for row in found:
        name = tuple(row[index] for index in indexes)
        due = unseen.pop(name, None)
        if due is None:
            report.unexpected(table, _named(columns, indexes, name))
        else:
            report.compare(table, _named(columns, indexes, name), columns, due, tuple(row))
    for name in unseen:
        report.missing(table, _named(columns, indexes, name))


def _named(columns: Sequence[str], indexes: Sequence[int], values: Sequence[object]) -> str:
    return " ".join(f"{columns[index]}={value}" for index, value in zip(indexes, values, strict=True))


async def _scan(connection: Connection, query: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(query, *arguments, prefetch=2_000):
        yield row
