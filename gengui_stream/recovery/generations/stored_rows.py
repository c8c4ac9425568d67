"""Everything that the projections hold of one generation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Fetcher, Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.recovery.verification.reference_fold import LetterFacts

STATE: Final = "SELECT * FROM projections.generation_states WHERE generation_id = $1"

REQUEST: Final = """
SELECT generation_id, owner_id, prompt, seed, width, height, model, provider, max_attempts, deadline, retried_from,
    correlation_id, traceparent, requested_at, provider_pinned
FROM projections.generation_requests WHERE generation_id = $1
"""

TIMELINE: Final = """
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
    status, ignored, md5(payload) AS payload
FROM projections.timeline WHERE generation_id = $1 ORDER BY partition, log_offset
"""

LETTERS: Final = """
SELECT partition, log_offset, reason, detail, resolution
FROM projections.dead_letters WHERE topic = $1 AND generation_id = $2
"""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows of one generation, at one moment. `timeline`: with the digest of the payload. `next_offsets`: of the
    log, by partition, that the projections had reached. `pruned_before`: events of the timeline that were appended
    before were removed."""

    generation_id: UUID
    state: asyncpg.Record | None
    request: asyncpg.Record | None
    timeline: Sequence[asyncpg.Record]
    letters: Mapping[Position, LetterFacts]
    next_offsets: Mapping[int, int]

    @property
    def pruned_before(self) -> datetime | None:
        return self.state["timeline_pruned_before"] if self.state else None

    @property
    def positions(self) -> list[Position]:
        """Of every record of the generation that the projections know."""
        folded = {Position(row["partition"], row["log_offset"]) for row in self.timeline}
        return sorted(folded | self.letters.keys())


async def read_rows(pool: Pool, topic: str, generation_id: UUID) -> StoredRows:
    """All as of one moment, whatever the agents commit meanwhile. Raises TransientError when PostgreSQL is
    unavailable."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            return await read_rows_on(connection, topic, generation_id)


async def read_rows_on(connection: Fetcher, topic: str, generation_id: UUID) -> StoredRows:
    """As the transaction of this connection sees them."""
    letters = await connection.fetch(LETTERS, topic, generation_id)
    reached = await connection.fetch(checkpoints.SELECT_OFFSETS, checkpoints.PROJECTION, topic)
    return StoredRows(
        generation_id,
        next(iter(await connection.fetch(STATE, generation_id)), None),
        next(iter(await connection.fetch(REQUEST, generation_id)), None),
        await connection.fetch(TIMELINE, generation_id),
        {Position(row["partition"], row["log_offset"]): LetterFacts(*list(row.values())[2:]) for row in letters},
        {row["partition"]: row["next_offset"] for row in reached},
    )
