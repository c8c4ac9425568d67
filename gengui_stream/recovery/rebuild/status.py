"""What there is of rebuilds: one in progress or unfinished, and what the last one retired."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.recovery.lag import log_ends
from gengui_stream.recovery.rebuild.rebuild import LOCK
from gengui_stream.recovery.rebuild.shadow import run_state
from gengui_stream.recovery.rebuild.shadow.connection import RETIRED, SHADOW, in_shadow
from gengui_stream.recovery.rebuild.shadow.run_state import RunState
from gengui_stream.settings import Settings

# A key of 64 bits is shown in two halves; ours has no upper one.
RUNNING: Final = """
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND classid = 0 AND objid::bigint = $1 AND datname = current_database())
"""

SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'
"""


@dataclass(frozen=True, slots=True)
class Status:
    """`running`: a process holds the lock of rebuilds. `current`, `retired`: None when there is no such schema; the
    sizes in bytes. `folded`, `ends`: by partition."""

    running: bool
    current: RunState | None
    current_bytes: int
    folded: Mapping[int, int]
    ends: Mapping[int, int]
    retired: RunState | None
    retired_bytes: int

    @property
    def share(self) -> float:
        """Of the log that is folded, 0 to 1."""
        total = sum(self.ends.values())
        return min(1.0, sum(self.folded.values()) / total) if total else 1.0


async def rebuild_status(settings: Settings, pool: Pool) -> Status:
    """Raises TransientError when a server is unavailable."""
    ends = await log_ends(settings)
    with transient_errors():
        async with pool.acquire() as connection:
            current, retired = [await run_state.load(connection, schema) for schema in (SHADOW, RETIRED)]
            sizes = [int(await connection.fetchval(SIZE, schema)) for schema in (SHADOW, RETIRED)]
            running = bool(await connection.fetchval(RUNNING, LOCK))
            rows = (
                await connection.fetch(
                    in_shadow(checkpoints.SELECT_OFFSETS), checkpoints.PROJECTION, settings.events_topic
                )
                if current
                else []
            )
    folded = {row["partition"]: row["next_offset"] for row in rows}
    return Status(running, current, sizes[0], folded, (current and current.ends) or ends, retired, sizes[1])
