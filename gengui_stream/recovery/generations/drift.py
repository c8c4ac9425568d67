"""The generations whose rows were found to differ from the fold of their events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.recovery.verification.report import Report

DIFFERENCE_MAX: Final = 500

RECORD: Final = """
INSERT INTO operations.drifted_generations (topic, generation_id, difference) VALUES ($1, $2, $3)
ON CONFLICT (topic, generation_id) DO UPDATE SET difference = EXCLUDED.difference, checked_at = now()
RETURNING found_at = now()
"""

REMOVE: Final = "DELETE FROM operations.drifted_generations WHERE topic = $1 AND generation_id = $2"

LIST: Final = """
SELECT generation_id, difference, found_at FROM operations.drifted_generations
WHERE topic = $1 ORDER BY found_at, generation_id LIMIT $2
"""

COUNT: Final = "SELECT count(*) FROM operations.drifted_generations WHERE topic = $1"

TAKE_CHECKED_LEAST_RECENTLY: Final = """
UPDATE operations.drifted_generations d SET checked_at = now() FROM (
    SELECT generation_id FROM operations.drifted_generations WHERE topic = $1 ORDER BY checked_at LIMIT 1) AS next
WHERE d.topic = $1 AND d.generation_id = next.generation_id
RETURNING d.generation_id
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """`difference`: the first column that differs, with both values."""

    generation_id: UUID
    difference: str
    found_at: datetime


def described(report: Report) -> str:
    """The differences in one line."""
    return "; ".join(f"{each.table}: {each.what}" for each in report.samples)[:DIFFERENCE_MAX].replace("\x00", "\\x00")


async def record(pool: Pool, topic: str, generation_id: UUID, difference: str) -> bool:
    """Whether it was not known yet."""
    with transient_errors():
        return bool(await pool.fetchval(RECORD, topic, generation_id, difference))


async def remove(connection: "Pool | Connection", topic: str, generation_id: UUID) -> None:
    """Its rows agree again."""
    with transient_errors():
        await connection.execute(REMOVE, topic, generation_id)


async def drifted(pool: Pool, topic: str, limit: int) -> tuple[int, Sequence[Drift]]:
    """Their number, and the first ones."""
    with transient_errors():
        found = [Drift(*row) for row in await pool.fetch(LIST, topic, limit)]
        return int(await pool.fetchval(COUNT, topic)), found


async def take_next(pool: Pool, topic: str) -> UUID | None:
    """The one whose last check is oldest. It counts as checked, however that ends: no generation holds up the
    others."""
    with transient_errors():
        found: UUID | None = await pool.fetchval(TAKE_CHECKED_LEAST_RECENTLY, topic)
    return found
