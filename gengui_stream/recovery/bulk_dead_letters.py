"""Retries or discards all open dead letters, or those of one reason, in the order of the log.

Nothing but the dead letters records the progress, so an interrupted run is continued by another.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.errors import PermanentError
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.projections.dead_letters import COUNT_OPEN, OPEN_AFTER
from gengui_stream.projections.outcomes import Tally
from gengui_stream.recovery.dead_letters import Resolution, find

IN_A_TRANSACTION: Final = 50
"""Dead letters. Each transaction makes the owner of the partition fold one batch again."""

ResolveOn: TypeAlias = Callable[[Connection, str, Position, JobTimings], Awaitable[Resolution]]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of tried dead letters, and of all of them."""


@dataclass(slots=True)
class BulkResolution:
    """`resolved`: dead letters that were retried or discarded. `folded`: of them and of the events parked behind them.
    `stays`: why, by position."""

    tried: int = 0
    resolved: int = 0
    folded: int = 0
    tally: Tally = field(default_factory=Tally)
    stays: dict[Position, str] = field(default_factory=dict)

    def add(self, position: Position, done: Resolution) -> None:
        self.resolved += 1
        self.folded += len(done.folded)
        self.tally.applied += done.tally.applied
        self.tally.ignored += done.tally.ignored
        self.stays.pop(position, None)
        if done.stays is not None:
            self.stays[done.stays] = done.because or ""


async def resolve_all(
    pool: Pool, topic: str, resolve: ResolveOn, timings: JobTimings, *, reason: str | None, progress: Progress
) -> BulkResolution:
    """Commits some dead letters of one partition at a time, and then leaves the partition to its owner for as long as
    that took."""
    done, after = BulkResolution(), Position(0, -1)
    with transient_errors():
        total = await pool.fetchval(COUNT_OPEN, topic, reason)
        while letters := await _next(pool, topic, reason, after):
            began = time.monotonic()
            async with pool.acquire() as connection, connection.transaction():
                await checkpoints.revise_parked(connection, topic, letters[0].partition)
                for position in letters:
                    done.tried += 1
                    if (await find(connection, topic, position)).resolution is None:  # else folded behind another
                        await _try(position, resolve(connection, topic, position, timings), done)
            after = letters[-1]
            progress(done.tried, total)
            await asyncio.sleep(time.monotonic() - began)
    return done


async def _next(pool: Pool, topic: str, reason: str | None, after: Position) -> Sequence[Position]:
    """Of one partition."""
    rows = await pool.fetch(OPEN_AFTER, topic, reason, after.partition, after.offset, IN_A_TRANSACTION)
    found = [Position(row["partition"], row["log_offset"]) for row in rows]
    return [position for position in found if position.partition == found[0].partition]


async def _try(position: Position, resolving: Awaitable[Resolution], done: BulkResolution) -> None:
    try:
        done.add(position, await resolving)
    except PermanentError as error:
        done.stays[position] = str(error)
