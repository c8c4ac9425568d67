"""All records of one generation, ignored and dead-lettered ones included."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool, transient_errors

HISTORY: Final = """
SELECT partition, log_offset, type, attempt, occurred_at, appended_at, version, status, ignored, NULL AS dead, payload
FROM projections.timeline WHERE generation_id = $1
UNION ALL
SELECT partition, log_offset, NULL, NULL, NULL, appended_at, NULL, NULL, NULL,
    reason || coalesce(' ' || resolution, ''), NULL
FROM projections.dead_letters WHERE generation_id = $1 AND resolution IS DISTINCT FROM 'retried' AND topic = $2
ORDER BY partition, log_offset
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One record of the log. `ignored` or `dead`: the reason why it changed nothing; both None: it was applied."""

    partition: int
    log_offset: int
    type: str | None
    attempt: int | None
    occurred_at: datetime | None
    appended_at: datetime
    version: int | None
    status: str | None
    ignored: str | None
    dead: str | None
    payload: str | None


async def history(pool: Pool, topic: str, generation_id: UUID) -> list[Recorded]:
    """In the order of the log. Raises PermanentError when the log has no record of the generation."""
    with transient_errors():
        rows = await pool.fetch(HISTORY, generation_id, topic)
    if not rows:
        raise PermanentError(f"nothing is recorded of generation {generation_id}")
    return [Recorded(*row) for row in rows]
