"""The timeline of one generation, and the new records of an owner since a vector of offsets."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projecting.checkpoints import PROJECTION

COLUMNS: Final = """generation_id, partition, log_offset, event_id, type, attempt, occurred_at, appended_at, version,
status, ignored, payload"""

# An offset is a place of one partition: a foreign producer may have put an event of the generation on another.
OF_GENERATION: Final = f"""
SELECT {COLUMNS} FROM projections.timeline
WHERE generation_id = $1 AND (partition, log_offset) > ($2::smallint, $3::bigint)
ORDER BY partition, log_offset LIMIT $4
"""  # noqa: S608 - constants of this module

NEW_OF_GENERATION: Final = f"""
SELECT {COLUMNS} FROM projections.timeline
LEFT JOIN unnest($2::smallint[], $3::bigint[]) AS seen (partition, last_offset) USING (partition)
WHERE generation_id = $1 AND log_offset > coalesce(last_offset, -1)
ORDER BY partition, log_offset LIMIT $4
"""  # noqa: S608 - constants of this module

OF_OWNER: Final = f"""
SELECT t.* FROM unnest($2::smallint[], $3::bigint[]) AS seen (partition, log_offset),
LATERAL (SELECT {COLUMNS} FROM projections.timeline
    WHERE owner_id = $1 AND partition = seen.partition AND log_offset > seen.log_offset
    ORDER BY log_offset LIMIT $4) t
"""  # noqa: S608 - constants of this module

POSITIONS: Final = "SELECT partition, next_offset FROM projections.checkpoints WHERE projection = $1 AND topic = $2"


async def of_generation(pool: Pool, generation_id: UUID, after: Position | None, limit: int) -> list[asyncpg.Record]:
    """Records after this position, by partition, each in the order of the log."""
    partition, offset = (after.partition, after.offset) if after is not None else (-1, -1)
    with transient_errors():
        return await pool.fetch(OF_GENERATION, generation_id, partition, offset, limit)


async def new_of_generation(
    pool: Pool, generation_id: UUID, seen: Mapping[int, int], limit: int
) -> list[asyncpg.Record]:
    """Records after the last offset in `seen` of their partition, all of those of other partitions."""
    with transient_errors():
        return await pool.fetch(NEW_OF_GENERATION, generation_id, list(seen.keys()), list(seen.values()), limit)


async def of_owner(pool: Pool, owner_id: UUID, seen: Mapping[int, int], limit: int) -> list[asyncpg.Record]:
    """At most `limit` records of each partition after the last offset in `seen`; in order within each partition."""
    with transient_errors():
        return await pool.fetch(OF_OWNER, owner_id, list(seen.keys()), list(seen.values()), limit)


async def projected(pool: Pool, topic: str) -> dict[int, int]:
    """The next offset to project of each partition."""
    with transient_errors():
        return {row["partition"]: row["next_offset"] for row in await pool.fetch(POSITIONS, PROJECTION, topic)}


async def has_reached(pool: Pool, topic: str, position: Position) -> bool:
    """Whether the event at this position is projected."""
    return (await projected(pool, topic)).get(position.partition, 0) > position.offset
