"""Random generations: half of them of the last hour, whose events this version has folded, half of any age."""

import random
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from gengui_stream.domain.identifiers import uuid7
from gengui_stream.postgres.pool import Fetcher, transient_errors

RECENT: Final = timedelta(hours=1)

# The ends of the index, and a step into it: no scan, whatever the size of the table.
ENDS: Final = """
SELECT (SELECT generation_id FROM projections.generation_states ORDER BY generation_id LIMIT 1) AS first,
    (SELECT generation_id FROM projections.generation_states ORDER BY generation_id DESC LIMIT 1) AS last
"""

NEXT: Final = """
SELECT generation_id FROM projections.generation_states WHERE generation_id >= $1 ORDER BY generation_id LIMIT 1
"""


async def random_generation(pool: Fetcher, chance: random.Random, now: datetime) -> UUID | None:
    """None: there is none. Ids sort by their time, so that each moment is as likely as any other."""
    with transient_errors():
        [ends] = await pool.fetch(ENDS)
        if ends["first"] is None:
            return None
        recent = first_of(now - RECENT) if chance.random() < 0.5 else 0
        first, last = max(ends["first"].int, recent), ends["last"].int
        rows = await pool.fetch(NEXT, UUID(int=chance.randint(min(first, last), last)))
        found: UUID | None = rows[0]["generation_id"] if rows else None
        return found


def first_of(moment: datetime) -> int:
    """The number of the first id of this millisecond."""
    return uuid7(int(moment.astimezone(UTC).timestamp() * 1000), bytes(10)).int
