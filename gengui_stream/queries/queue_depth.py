"""How many jobs are open, of each kind and provider, how old the oldest is, and how long the first has been due."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gengui_stream.postgres.pool import Pool, transient_errors

DEPTH: Final = """
SELECT kind, provider, count(*) AS open, count(*) FILTER (WHERE leased_until > now()) AS leased,
    count(*) FILTER (WHERE available_at <= now() AND coalesce(leased_until, '-infinity') <= now()) AS due,
    min(created_at) AS oldest_created_at,
    coalesce(extract(epoch FROM now() - min(available_at) FILTER (
        WHERE available_at <= now() AND coalesce(leased_until, '-infinity') <= now())), 0)::float8 AS oldest_due_s
FROM jobs.jobs GROUP BY kind, provider ORDER BY kind, provider
"""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """`due`: waiting for a process; `leased`: in progress. The others are for later. `provider`: empty where the kind
    has none. `oldest_due_s`: how long the first of those that are due has been; 0 without any."""

    kind: str
    provider: str
    open: int
    leased: int
    due: int
    oldest_created_at: datetime
    oldest_due_s: float


async def depths(pool: Pool) -> list[QueueDepth]:
    with transient_errors():
        return [QueueDepth(**row) for row in await pool.fetch(DEPTH)]
