"""How far each partition is projected, and who may move it on: compare-and-set on (next_offset, owner_epoch)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from gengui_stream.errors import FencedError
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projections.bulk import Write, joined
from gengui_stream.projections.folding import Tally

PROJECTION: Final = "generations"
"""All read models move together, in one transaction, under this one name."""

CLAIM: Final = """
INSERT INTO projection_positions AS p (projection, topic, partition, start_offset, next_offset, owner_epoch)
VALUES ($1, $2, $3, 0, 0, 1)
ON CONFLICT (projection, topic, partition) DO UPDATE SET owner_epoch = p.owner_epoch + 1, updated_at = now()
RETURNING next_offset, owner_epoch
"""

ADVANCE: Final = """
UPDATE projection_positions SET next_offset = $6, applied = applied + $7, ignored = ignored + $8,
    dead_lettered = dead_lettered + $9, updated_at = now()
WHERE projection = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 AND owner_epoch = $5
"""

ADVANCED: Final = "SELECT 1 / count(*) FROM part_0"
"""Fails, and everything beside it in its statement with it, when the advance before it found no row."""

SELECT_ONE: Final = """
SELECT next_offset, owner_epoch FROM projection_positions WHERE projection = $1 AND topic = $2 AND partition = $3
"""

SELECT_ALL: Final = """
SELECT partition, start_offset, next_offset, owner_epoch, applied, ignored, dead_lettered, updated_at
FROM projection_positions WHERE projection = $1 AND topic = $2 ORDER BY partition
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to move a partition on from `next_offset`, until somebody claims it with a higher epoch."""

    partition: int
    next_offset: int
    epoch: int


async def claim(pool: Pool, topic: str, partitions: Collection[int]) -> dict[int, Claim]:
    """Takes the partitions over: any batch that an earlier owner has not committed yet never will be."""
    claims: dict[int, Claim] = {}
    with transient_errors():
        for partition in sorted(partitions):
            [row] = await pool.fetch(CLAIM, PROJECTION, topic, partition)
            claims[partition] = Claim(partition, row["next_offset"], row["owner_epoch"])
    return claims


async def refresh(pool: Pool, topic: str, held: Claim) -> Claim:
    """The claim as the database has it, after a commit whose outcome is unknown. Raises FencedError when lost."""
    with transient_errors():
        row = await pool.fetchrow(SELECT_ONE, PROJECTION, topic, held.partition)
    if row is None or row["owner_epoch"] != held.epoch:
        raise FencedError(f"partition {held.partition} of {topic} has another owner")
    return Claim(held.partition, row["next_offset"], held.epoch)


async def commit(
    connection: Connection, topic: str, held: Claim, next_offset: int, tally: Tally, *, writes: Sequence[Write]
) -> None:
    """Moves the position and writes, in one statement, which is a transaction by itself: a process that is paused
    holds nothing, and round trips are most of what a small batch costs. Raises FencedError when the claim is no longer
    good."""
    arguments = [_arguments(topic, held, next_offset, tally), *(write.arguments() for write in writes), ()]
    statements = (f"{ADVANCE} RETURNING 1", *(write.statement for write in writes), ADVANCED)
    statement = joined(statements, tuple(map(len, arguments)))
    try:
        await connection.execute(statement, *(each for own in arguments for each in own))
    except asyncpg.DivisionByZeroError as error:
        raise _fenced(topic, held) from error


async def advance(connection: Connection, topic: str, held: Claim, next_offset: int, tally: Tally) -> None:
    """Moves the position inside the caller's transaction. Raises FencedError when the claim is no longer good."""
    if await connection.execute(ADVANCE, *_arguments(topic, held, next_offset, tally)) != "UPDATE 1":
        raise _fenced(topic, held)


def _arguments(topic: str, held: Claim, next_offset: int, tally: Tally) -> tuple[object, ...]:
    counts = (tally.applied, tally.ignored, tally.dead_lettered)
    return PROJECTION, topic, held.partition, held.next_offset, held.epoch, next_offset, *counts


def _fenced(topic: str, held: Claim) -> FencedError:
    return FencedError(f"partition {held.partition} of {topic} is not at {held.next_offset} under our epoch")
