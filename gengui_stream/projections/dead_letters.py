"""Records that could not be folded, kept in full, and the parked events behind them in order (law 4)."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Connection, Pool
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

LIST: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters
WHERE topic = $1 AND (resolution IS NULL OR $2) AND (reason <> 'parked' OR $3) ORDER BY partition, log_offset LIMIT $4
"""

FIND: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters WHERE topic = $1 AND partition = $2 AND log_offset = $3
"""

COUNT_OPEN: Final = """
SELECT count(*) FROM projections.dead_letters
WHERE topic = $1 AND resolution IS NULL AND reason <> 'parked' AND ($2::text IS NULL OR reason = $2)
"""

OPEN_AFTER: Final = """
SELECT partition, log_offset FROM projections.dead_letters
WHERE topic = $1 AND resolution IS NULL AND reason <> 'parked' AND ($2::text IS NULL OR reason = $2)
    AND (partition, log_offset) > ($3, $4)
ORDER BY partition, log_offset LIMIT $5
"""

OPEN_OF_GENERATION: Final = """
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at, created_at,
    resolution, resolved_at
FROM projections.dead_letters
WHERE topic = $1 AND partition = $2 AND generation_id = $3 AND resolution IS NULL ORDER BY log_offset
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

NOT_OF_THE_LOG: Final = """
SELECT d.partition, d.log_offset FROM projections.dead_letters d LEFT JOIN projections.checkpoints c
    ON c.projection = $1 AND c.topic = d.topic AND c.partition = d.partition
WHERE d.topic = $2 AND (c.next_offset IS NULL OR d.log_offset >= c.next_offset)
"""
"""Rows past the checkpoint of their partition, or of a partition without one."""


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


async def parked_generations(pool: Pool, topic: str, partition: int) -> set[UUID]:
    """The generations with an open dead letter, whose later events are parked."""
    return {row["generation_id"] for row in await pool.fetch(OPEN, topic, partition)}
