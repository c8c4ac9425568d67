"""Retries or discards the open dead letters that a filter selects, in the order of the log.

Nothing but the dead letters records the progress, so an interrupted run is continued by another.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, TypeAlias

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.errors import PermanentError
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.projections.outcomes import Tally
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.recovery.dead_letters.filters import BEFORE_ALL, LetterFilter, matching
from gengui_stream.recovery.dead_letters.letters import Resolution, find, tentative

IN_A_TRANSACTION: Final = 50
"""Dead letters. Each transaction makes the owner of the partition fold one batch again."""

ResolveOn: TypeAlias = Callable[[Connection, str, Position, JobTimings], Awaitable[Resolution]]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of tried dead letters, and of all of them."""


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """`action`: for the audit. `resolve`: of one dead letter. `dry_run`: every transaction is rolled back."""

    action: str
    resolve: ResolveOn
    wanted: LetterFilter
    timings: JobTimings
    order: Order
    dry_run: bool = False

    @property
    def subject(self) -> str:
        conditions = self.wanted.conditions
        return ", ".join(f"{name} {value}" for name, value in conditions.items()) or "all open ones"


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


async def resolve_all(pool: Pool, topic: str, order: BulkOrder, progress: Progress) -> BulkResolution:
    """Commits some dead letters of one partition at a time, with a row of the audit, and then leaves the partition to
    its owner for as long as that took."""
    order = replace(order, wanted=replace(order.wanted, resolved=False, parked=False))
    done = BulkResolution()
    total = len([letter async for letter in matching(pool, topic, order.wanted)])
    async for positions in _chunks(pool, topic, order.wanted):
        began = time.monotonic()
        with transient_errors():
            async with pool.acquire() as connection:
                await _resolve_some(connection, topic, order, positions, done)
        progress(done.tried, total)
        await asyncio.sleep(time.monotonic() - began)
    return done


async def _chunks(pool: Pool, topic: str, wanted: LetterFilter) -> AsyncIterator[Sequence[Position]]:
    """Of one partition each. What is selected is read again after each: a retry may have folded others."""
    after = BEFORE_ALL
    while found := [each.position async for each in matching(pool, topic, wanted, after=after, limit=IN_A_TRANSACTION)]:
        chunk = list(next(groupby(found, lambda position: position.partition))[1])
        yield chunk
        after = chunk[-1]


async def _resolve_some(
    connection: Connection, topic: str, order: BulkOrder, positions: Sequence[Position], done: BulkResolution
) -> None:
    async with tentative(connection, dry_run=order.dry_run):
        await checkpoints.revise_parked(connection, topic, positions[0].partition)
        before = done.resolved
        for position in positions:
            done.tried += 1
            if (await find(connection, topic, position)).resolution is None:  # else folded behind another
                await _try(position, order.resolve(connection, topic, position, order.timings), done)
        if done.resolved > before:
            result = {"resolved": done.resolved - before, "tried": [str(position) for position in positions]}
            await write_act(connection, order.order, order.action, order.subject, result)


async def _try(position: Position, resolving: Awaitable[Resolution], done: BulkResolution) -> None:
    try:
        done.add(position, await resolving)
    except PermanentError as error:
        done.stays[position] = str(error)
