"""Records that could not be folded, kept in full, and the parked events behind them in order (law 4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projections.outcomes import DeadLettered, Outcome, appended_at

INSERT: Final = """
INSERT INTO projections.dead_letters (topic, partition, log_offset, generation_id, reason, detail, record_key,
    record_value,
    appended_at)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::bytea[],
    $8::bytea[], $9::timestamptz[])
"""

INSERT_SKIPPED: Final = """
INSERT INTO projections.dead_letters (topic, partition, log_offset, generation_id, reason, detail, record_key,
    record_value, appended_at, resolution, resolved_at)
VALUES ($1, $2, $3, $4, 'skipped', $5, $6, $7, $8, 'discarded', now())
"""

OPEN: Final = """
SELECT DISTINCT generation_id FROM projections.dead_letters
WHERE topic = $1 AND partition = $2 AND resolution IS NULL AND generation_id IS NOT NULL
"""


LATEST: Final = """
SELECT log_offset FROM projections.dead_letters
WHERE topic = $1 AND partition = $2 AND log_offset < $3 AND resolution IS NULL AND reason <> 'parked'
ORDER BY log_offset DESC LIMIT $4
"""

# `$12` and `$13` are what the value of a record of that type or owner contains; the caller reads it.
MATCHING: Final = """
SELECT d.topic, d.partition, d.log_offset, d.generation_id, d.reason, d.detail, d.record_key, d.record_value,
    d.appended_at, d.created_at, d.resolution, d.resolved_at, r.owner_id
FROM projections.dead_letters d LEFT JOIN projections.generation_requests r USING (generation_id)
WHERE d.topic = $1 AND (d.resolution IS NULL OR $2) AND (d.reason <> 'parked' OR $3)
    AND ($4::text IS NULL OR d.reason = $4) AND ($5::uuid IS NULL OR d.generation_id = $5)
    AND ($6::int IS NULL OR d.partition = $6)
    AND ($7::bigint IS NULL OR d.log_offset >= $7) AND ($8::bigint IS NULL OR d.log_offset <= $8)
    AND ($9::timestamptz IS NULL OR d.appended_at >= $9) AND ($10::timestamptz IS NULL OR d.appended_at < $10)
    AND ($11::uuid IS NULL OR r.owner_id = $11 OR position($12::bytea IN d.record_value) > 0)
    AND ($13::bytea IS NULL OR position($13 IN d.record_value) > 0)
    AND (d.partition, d.log_offset) > ($14::int, $15::bigint)
ORDER BY d.partition, d.log_offset LIMIT $16
"""

FIND: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters WHERE topic = $1 AND partition = $2 AND log_offset = $3
"""

OPEN_OF_GENERATION: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters
WHERE topic = $1 AND partition = $2 AND generation_id = $3 AND resolution IS NULL ORDER BY log_offset
"""

HIDES: Final = """
SELECT EXISTS (SELECT FROM projections.dead_letters
        WHERE topic = $1 AND partition = $2 AND generation_id = $3 AND resolution IS NULL)
    AND NOT EXISTS (SELECT FROM projections.generation_requests WHERE generation_id = $3)
"""

NOT_FOLDED: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters
WHERE topic = $1 AND generation_id = $2 AND resolution IS DISTINCT FROM 'retried' ORDER BY partition, log_offset
"""

RESOLVE: Final = """
UPDATE projections.dead_letters SET resolution = $4, resolved_at = now()
WHERE topic = $1 AND partition = $2 AND log_offset = ANY($3)
"""

SET_REASON: Final = """
UPDATE projections.dead_letters SET reason = $4, detail = $5 WHERE topic = $1 AND partition = $2 AND log_offset = $3
"""

HELD: Final = """
SELECT partition, count(*) FILTER (WHERE reason <> 'parked') AS dead,
    count(*) FILTER (WHERE reason = 'parked') AS parked, count(DISTINCT generation_id) AS generations
FROM projections.dead_letters WHERE topic = $1 AND resolution IS NULL GROUP BY partition
"""

NOT_OF_THE_LOG: Final = """
SELECT d.partition, d.log_offset FROM projections.dead_letters d LEFT JOIN projections.checkpoints c
    ON c.projection = $1 AND c.topic = d.topic AND c.partition = d.partition
WHERE d.topic = $2 AND (c.next_offset IS NULL OR d.log_offset >= c.next_offset)
"""
"""Rows past the checkpoint of their partition, or of a partition without one."""


@dataclass(frozen=True, slots=True)
class Held:
    """Open dead letters of a partition, the events parked behind them, and the generations that stand still."""

    dead: int = 0
    parked: int = 0
    generations: int = 0


def rows_of(outcomes: Iterable[Outcome], topic: str, partition: int) -> list[tuple[object, ...]]:
    return [_row(outcome, topic, partition) for outcome in outcomes if isinstance(outcome, DeadLettered)]


def _row(dead: DeadLettered, topic: str, partition: int) -> tuple[object, ...]:
    record = dead.record
    detail = dead.detail.replace("\x00", "\\x00")
    position = (topic, partition, record.offset, dead.generation_id)
    return (*position, dead.reason, detail, record.key, record.value, appended_at(record))


def write(rows: list[tuple[object, ...]]) -> Write:
    return Write(INSERT, rows)


async def insert_skipped(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Rows of topic, partition, offset, generation, detail, key, value and time of the record."""
    await connection.executemany(INSERT_SKIPPED, rows)


async def latest_consecutive(pool: Pool, topic: str, partition: int, before: int, most: int) -> int:
    """The number of open dead letters, at most `most`, that end at the offset `before`, parked events left out."""
    rows = await pool.fetch(LATEST, topic, partition, before, most)
    return next((number for number, row in enumerate(rows) if row["log_offset"] != before - 1 - number), len(rows))


async def hides(pool: Pool, topic: str, partition: int, generation_id: UUID) -> bool:
    """Whether an open dead letter, which may be its request, is all that the projections have of the generation."""
    with transient_errors():
        return bool(await pool.fetchval(HIDES, topic, partition, generation_id))


async def parked_generations(pool: Pool, topic: str, partition: int) -> set[UUID]:
    """The generations with an open dead letter, whose later events are parked."""
    return {row["generation_id"] for row in await pool.fetch(OPEN, topic, partition)}


async def held_back(pool: Pool, topic: str) -> dict[int, Held]:
    """By partition, without those that have no open dead letter."""
    with transient_errors():
        return {row["partition"]: Held(*list(row.values())[1:]) for row in await pool.fetch(HELD, topic)}
