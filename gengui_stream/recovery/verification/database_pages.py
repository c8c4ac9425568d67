"""Copies the rows of PostgreSQL that change into the staging database, page by page.

Each page is one short statement, which also reads the checkpoints: a row is compared with the fold up to the checkpoint
of its own page. So no snapshot has to be held while the log is read.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from gengui_stream.postgres.pool import Connection
from gengui_stream.recovery.verification.expected_rows import (
    DOCUMENTS,
    MEASURES,
    STATE_COLUMNS,
    canonical,
    count_key,
)
from gengui_stream.recovery.verification.report import Report
from gengui_stream.recovery.verification.staging import FoundRow, Staging

PAGE: Final = 5_000
GENERATIONS: Final = 1_000
"""In a page of the timeline, which has some ten rows of each."""

GENERATION_STATES: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM projections.generation_states WHERE generation_id >= $3
    ORDER BY generation_id LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY generation_id
"""

DAILY_COUNTS: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM projections.daily_counts WHERE (owner_id, day, partition) >= ($3, $4, $5)
    ORDER BY owner_id, day, partition LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY owner_id, day, page.partition
"""

PROVIDER_MINUTES: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM projections.provider_minutes WHERE (provider, model, minute, partition) >= ($3, $4, $5, $6)
    ORDER BY provider, model, minute, partition LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY provider, model, minute, page.partition
"""

PROVIDER_LATENCIES: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM projections.provider_latencies
    WHERE (provider, model, minute, partition, at_most_ms) >= ($3, $4, $5, $6, $7)
    ORDER BY provider, model, minute, partition, at_most_ms LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY provider, model, minute, page.partition, at_most_ms
"""

PROVIDER_USAGE: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM projections.provider_usage WHERE (provider, model, day, partition) >= ($3, $4, $5, $6)
    ORDER BY provider, model, day, partition LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY provider, model, day, page.partition
"""

JOBS: Final = """
SELECT page.*, c.next_offset AS position
FROM (SELECT * FROM jobs.jobs WHERE job_key >= $3
    ORDER BY job_key LIMIT $2) page
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = page.partition
ORDER BY job_key
"""

# The ids of a page are found by the index alone.
TIMELINE: Final = """
WITH ids AS (SELECT DISTINCT generation_id FROM projections.timeline WHERE generation_id >= $3
    ORDER BY generation_id LIMIT $2)
SELECT t.generation_id, t.partition, c.next_offset AS position,
    count(*) FILTER (WHERE t.log_offset < begun.position) AS rows,
    (array_agg(t.log_offset) FILTER (WHERE t.log_offset >= c.next_offset))[1:100] AS past
FROM ids JOIN projections.timeline t USING (generation_id)
LEFT JOIN unnest($4::smallint[], $5::bigint[]) AS begun (partition, position) ON begun.partition = t.partition
LEFT JOIN projections.checkpoints c ON c.projection = 'generations' AND c.topic = $1 AND c.partition = t.partition
GROUP BY t.generation_id, t.partition, c.next_offset ORDER BY t.generation_id
"""

REQUESTS: Final = """
SELECT generation_id, EXISTS (SELECT FROM projections.generation_states s WHERE s.generation_id = r.generation_id)
FROM projections.generation_requests r WHERE generation_id >= $1 ORDER BY generation_id LIMIT $2
"""

JOB_COLUMNS: Final = ("job_key", "kind", "generation_id", "attempt", "output_id")

FIRST_MINUTE: Final = datetime.fromisoformat("0001-01-01T00:00:00Z")

Converted: TypeAlias = tuple[str, bytes]
"""The key of a row, and its values to compare."""


class _Table(NamedTuple):
    """`key`: the columns of the primary key. `start`: no key in the table is lower."""

    name: str
    query: str
    key: tuple[str, ...]
    start: tuple[object, ...]
    convert: Callable[[asyncpg.Record], Converted]


async def copy_changing_rows(connection: Connection, topic: str, staging: Staging, report: Report) -> None:
    """Copies the states, the counts and the jobs. Reports rows of partitions without a checkpoint."""
    for table in TABLES:
        async for page in _pages(connection, topic, table):
            _keep(table, page, staging, report)


async def copy_timeline_sizes(
    connection: Connection, topic: str, begun: Mapping[int, int], staging: Staging, report: Report
) -> None:
    """Copies the number of rows of each generation below the offsets in `begun`, by partition. Reports rows past the
    checkpoint, and of partitions without one."""
    start, more, positions = UUID(int=0), True, (list(begun.keys()), list(begun.values()))
    while more:
        rows = await connection.fetch(TIMELINE, topic, GENERATIONS, start, *positions)
        for row in rows:
            for offset in ("",) if row["position"] is None else row["past"] or ():
                report.unexpected("timeline", f"{row['generation_id']} {row['partition']}:{offset}")
        staging.put(
            FoundRow("timeline", row["partition"], str(row["generation_id"]), row["position"], row["rows"])
            for row in rows
            if row["position"] is not None
        )
        ids = {row["generation_id"] for row in rows}
        start, more = max(ids, default=start), len(ids) == GENERATIONS


async def find_requests_without_state(connection: Connection, report: Report) -> None:
    """Both rows are written by one transaction."""
    start, more = UUID(int=0), True
    while more:
        rows = await connection.fetch(REQUESTS, start, PAGE)
        for generation_id, has_state in rows:
            if not has_state:
                report.unexpected("generation_requests", str(generation_id))
        start, more = rows[-1]["generation_id"] if rows else start, len(rows) == PAGE


async def _pages(connection: Connection, topic: str, table: _Table) -> AsyncIterator[list[asyncpg.Record]]:
    """Pages of rows with `position`, the checkpoint of their partition. A page begins with the last row of the one
    before it."""
    start, more = table.start, True
    while more:
        rows = await connection.fetch(table.query, topic, PAGE, *start)
        yield rows
        more = len(rows) == PAGE
        start = tuple(rows[-1][column] for column in table.key) if rows else start


def _keep(table: _Table, page: Iterable[asyncpg.Record], staging: Staging, report: Report) -> None:
    rows: list[FoundRow] = []
    for row in page:
        key, found = table.convert(row)
        if row["position"] is None:
            report.unexpected(table.name, key)
        else:
            rows.append(FoundRow(table.name, row["partition"], key, row["position"], found))
    staging.put(rows)


def _state(row: asyncpg.Record) -> Converted:
    return str(row["generation_id"]), canonical(state_values(row))


def state_values(row: asyncpg.Record) -> list[object]:
    """The row of a state in the order of STATE_COLUMNS, with the JSON columns as documents."""
    return [_document(row[name]) if name in DOCUMENTS else row[name] for name in STATE_COLUMNS]


def _document(text: str | None) -> object:
    if text is None:
        return None
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return found


def _job(row: asyncpg.Record) -> Converted:
    return row["job_key"], canonical([row[name] for name in JOB_COLUMNS])


def _counted(name: str, query: str, key: tuple[str, ...], start: tuple[object, ...]) -> _Table:
    def convert(row: asyncpg.Record) -> Converted:
        own = (row[column] for column in key if column != "partition")
        return count_key(*own), canonical([row[measure] for measure in MEASURES[name]])

    return _Table(name, query, key, start, convert)


MINUTE_KEY: Final = ("provider", "model", "minute", "partition")
MINUTE_START: Final = ("", "", FIRST_MINUTE, -1)

TABLES: Final = (
    _Table("generation_states", GENERATION_STATES, ("generation_id",), (UUID(int=0),), _state),
    _Table("jobs", JOBS, ("job_key",), ("",), _job),
    _counted("daily_counts", DAILY_COUNTS, ("owner_id", "day", "partition"), (UUID(int=0), date.min, -1)),
    _counted("provider_minutes", PROVIDER_MINUTES, MINUTE_KEY, MINUTE_START),
    _counted("provider_latencies", PROVIDER_LATENCIES, (*MINUTE_KEY, "at_most_ms"), (*MINUTE_START, -1)),
    _counted("provider_usage", PROVIDER_USAGE, ("provider", "model", "day", "partition"), ("", "", date.min, -1)),
)
