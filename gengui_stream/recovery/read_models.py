"""Compares the read models with one row a generation, day or minute, once a partition is folded."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.domain.generation.jobs import due_jobs
from gengui_stream.postgres.pool import Connection
from gengui_stream.projections import daily_counts, generation_states, provider_statistics
from gengui_stream.recovery.reference_fold import PartitionFold
from gengui_stream.recovery.report import Report

DAY_COLUMNS: Final = ("owner_id", "day", "partition", *daily_counts.MEASURES)
MINUTE_COLUMNS: Final = ("provider", "model", "minute", "partition", *provider_statistics.MEASURES)
LATENCY_COLUMNS: Final = ("provider", "model", "minute", "partition", "at_most_ms", "completions")
JOB_COLUMNS: Final = ("job_key", "kind", "generation_id", "attempt", "output_id")

JOBS: Final = "SELECT job_key, kind, generation_id, attempt, output_id FROM jobs.jobs WHERE partition = $1"

CATCHES_UP: Final = "SELECT valid_until = '-infinity' FROM jobs.partition_owners WHERE partition = $1"
"""Until its owner has caught up, a partition makes no jobs."""

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


async def compare(connection: Connection, report: Report, partition: int, fold: PartitionFold) -> Mapping[str, UUID]:
    """Compares the rows that depend on the whole partition. Returns the jobs that are not there, as generations by key,
    which only later events of the log can explain."""
    await _compare_states(connection, report, partition, fold)
    lost = await _compare_jobs(connection, report, partition, fold)
    counted = (
        ("daily_counts", DAY_COLUMNS, 3, daily_counts.rows_of(fold.days, partition)),
        ("provider_minutes", MINUTE_COLUMNS, 4, provider_statistics.rows_of(fold.minutes, partition)),
        ("provider_latencies", LATENCY_COLUMNS, 5, provider_statistics.latency_rows_of(fold.latencies, partition)),
    )
    for table, columns, keys, rows in counted:
        found = await connection.fetch(COUNTED[table], partition)
        compare_rows(report, table, columns, key=range(keys), expected=rows, found=in_order(columns, found))
    return lost


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


async def _compare_jobs(
    connection: Connection, report: Report, partition: int, fold: PartitionFold
) -> Mapping[str, UUID]:
    """Compares keys and subjects only: the progress of a job does not follow from the log."""
    due = {job.key: job.generation_id for state in fold.known.states.values() for job in due_jobs(state, fold.timings)}
    async for row in _scan(connection, JOBS, partition):
        due.pop(row["job_key"], None)
        job = fold.jobs.get(row["job_key"])
        if job is None:
            report.unexpected("jobs", row["job_key"])
            continue
        expected = (job.key, job.kind, job.generation_id, job.attempt, job.output_id)
        report.compare("jobs", job.key, JOB_COLUMNS, expected, tuple(row))
    return {} if await connection.fetchval(CATCHES_UP, partition) else due


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
