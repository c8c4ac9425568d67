"""The checkpoint of each partition, advanced by compare-and-set on (next_offset, owner_epoch, parked_revision)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from gengui_stream.errors import FencedError
from gengui_stream.log.positions import Position
from gengui_stream.postgres.bulk import Write, joined
from gengui_stream.postgres.pool import Connection, Executor, Fetcher, Pool, transient_errors
from gengui_stream.projections.outcomes import Tally

PROJECTION: Final = "generations"
"""All read models advance in one transaction, under this one name."""

CLAIM: Final = """
INSERT INTO projections.checkpoints AS p
    (projection, topic, partition, start_offset, next_offset, owner_epoch, revision_epoch)
VALUES ($1, $2, $3, 0, 0, 1, 1)
ON CONFLICT (projection, topic, partition) DO UPDATE SET owner_epoch = p.owner_epoch + 1,
    revision_epoch = p.owner_epoch + 1, updated_at = now()
RETURNING next_offset, owner_epoch, parked_revision
"""

ADVANCE: Final = """
UPDATE projections.checkpoints AS p SET next_offset = moved.next_offset, applied = p.applied + moved.applied,
    ignored = p.ignored + moved.ignored, dead_lettered = p.dead_lettered + moved.dead_lettered, updated_at = now()
FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::bigint[])
    AS moved (partition, expected, epoch, revision, next_offset, applied, ignored, dead_lettered)
WHERE p.projection = $1 AND p.topic = $2 AND p.partition = moved.partition
    AND p.next_offset = moved.expected AND p.owner_epoch = moved.epoch AND p.parked_revision = moved.revision
RETURNING 1
"""

ADVANCED: Final = "SELECT 1 / (count(*) = $1::bigint)::int FROM part_0"
"""Divides by zero, and so fails the whole statement, when the advance before it did not update all its rows."""

# An owner of the release before, which heeds no revision, has claimed without a `revision_epoch`: it is fenced.
REVISE_PARKED: Final = """
UPDATE projections.checkpoints SET parked_revision = parked_revision + 1, updated_at = now(),
    owner_epoch = owner_epoch + (revision_epoch < owner_epoch)::int
WHERE projection = $1 AND topic = $2 AND partition = $3
RETURNING next_offset
"""

RECOUNT: Final = """
UPDATE projections.checkpoints SET applied = applied + $4, ignored = ignored + $5, dead_lettered = dead_lettered - $6
WHERE projection = $1 AND topic = $2 AND partition = $3
"""

SKIP: Final = """
UPDATE projections.checkpoints SET next_offset = $4, dead_lettered = dead_lettered + $5, updated_at = now()
WHERE projection = $1 AND topic = $2 AND partition = $3
"""

SELECT_ONE: Final = """
SELECT next_offset, owner_epoch, parked_revision FROM projections.checkpoints
WHERE projection = $1 AND topic = $2 AND partition = $3
"""

SELECT_ALL: Final = """
SELECT partition, start_offset, next_offset, owner_epoch, applied, ignored, dead_lettered, updated_at,
    parked_revision
FROM projections.checkpoints WHERE projection = $1 AND topic = $2 ORDER BY partition
"""

SELECT_OFFSETS: Final = """
SELECT partition, next_offset FROM projections.checkpoints WHERE projection = $1 AND topic = $2
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to advance a partition from `next_offset`, valid until another owner claims it with a higher epoch.
    `parked_revision`: of the parked generations that the owner knows."""

    partition: int
    next_offset: int
    epoch: int
    parked_revision: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A partition's advance to `next_offset`, with the tally of the records in between."""

    claim: Claim
    next_offset: int
    tally: Tally


async def claim(pool: Fetcher, topic: str, partitions: Collection[int]) -> dict[int, Claim]:
    """Claims the partitions with a higher epoch, which fences every uncommitted batch of an earlier owner."""
    claims: dict[int, Claim] = {}
    with transient_errors():
        for partition in sorted(partitions):
            [row] = await pool.fetch(CLAIM, PROJECTION, topic, partition)
            claims[partition] = Claim(partition, row["next_offset"], row["owner_epoch"], row["parked_revision"])
    return claims


async def refresh(pool: Pool, topic: str, held: Claim) -> Claim:
    """The claim as the database holds it, after a commit that failed or whose outcome is unknown. Raises FencedError
    when another owner has claimed the partition, or when its checkpoint has gone back, which only a restored backup
    causes: the owner then starts again there."""
    with transient_errors():
        row = await pool.fetchrow(SELECT_ONE, PROJECTION, topic, held.partition)
    if row is None or row["owner_epoch"] != held.epoch:
        raise FencedError(f"partition {held.partition} of {topic} has another owner")
    _check_not_restored(held, row["next_offset"])
    return Claim(held.partition, row["next_offset"], held.epoch, row["parked_revision"])


async def check_not_restored(pool: Pool, topic: str, held: Collection[Claim]) -> None:
    """Raises FencedError when a checkpoint has gone back behind one of these claims. `held`: as they were before."""
    found = await projected(pool, topic)
    for each in held:
        _check_not_restored(each, found.get(each.partition, 0))


def _check_not_restored(held: Claim, next_offset: int) -> None:
    if next_offset < held.next_offset:
        went = f"from {held.next_offset} to {next_offset}"
        raise FencedError(f"the checkpoint of partition {held.partition} went back {went}: PostgreSQL was restored")


async def commit(connection: Executor, topic: str, moves: Sequence[Move], *, writes: Sequence[Write]) -> None:
    """Advances the checkpoints and writes the rows in one statement, which is its own transaction: a paused process
    holds no locks, and a small batch costs one round trip. Raises FencedError, and changes nothing, when a claim is no
    longer valid or an operator has changed what is parked: `refresh` tells which."""
    arguments = [_arguments(topic, moves), *(write.arguments() for write in writes), (len(moves),)]
    statements = (ADVANCE, *(write.statement for write in writes), ADVANCED)
    statement = joined(statements, tuple(map(len, arguments)))
    try:
        await connection.execute(statement, *(each for own in arguments for each in own))
    except asyncpg.DivisionByZeroError as error:
        raise _fenced(topic, moves) from error


async def hold(connection: Connection, topic: str, partition: int) -> int:
    """The partition's next offset, which its owner does not advance until the transaction ends. It then loads again
    what an operator has changed."""
    if (next_offset := await connection.fetchval(REVISE_PARKED, PROJECTION, topic, partition)) is None:
        next_offset = await connection.fetchval(CLAIM, PROJECTION, topic, partition)
    return int(next_offset)


async def skip_to(connection: Connection, topic: str, partition: int, next_offset: int, skipped: int) -> None:
    """Moves the checkpoint past offsets that are kept as dead letters."""
    await connection.execute(SKIP, PROJECTION, topic, partition, next_offset, skipped)


async def revise_parked(connection: Connection, topic: str, partition: int) -> None:
    """Makes every uncommitted batch of the partition's owner fail, which then loads again what is parked. Until the
    transaction ends, the owner commits nothing."""
    await connection.execute(REVISE_PARKED, PROJECTION, topic, partition)


async def recount(connection: Connection, topic: str, partition: int, folded: Tally, retried: int) -> None:
    """Counts dead letters that were retried as applied or ignored."""
    counts = (folded.applied, folded.ignored, retried)
    await connection.execute(RECOUNT, PROJECTION, topic, partition, *counts)


async def projected(pool: Pool, topic: str) -> dict[int, int]:
    """The next offset to project of each partition."""
    with transient_errors():
        return {row["partition"]: row["next_offset"] for row in await pool.fetch(SELECT_OFFSETS, PROJECTION, topic)}


async def has_reached(pool: Pool, topic: str, position: Position) -> bool:
    """Whether the event at this position is projected."""
    return (await projected(pool, topic)).get(position.partition, 0) > position.offset


def _arguments(topic: str, moves: Sequence[Move]) -> tuple[object, ...]:
    columns = zip(*(_columns(move) for move in moves), strict=True)
    return PROJECTION, topic, *map(list, columns)


def _columns(move: Move) -> tuple[int, ...]:
    claim, tally = move.claim, move.tally
    counts = (tally.applied, tally.ignored, tally.dead_lettered)
    return claim.partition, claim.next_offset, claim.epoch, claim.parked_revision, move.next_offset, *counts


def _fenced(topic: str, moves: Sequence[Move]) -> FencedError:
    expected = ", ".join(f"{move.claim.partition} at {move.claim.next_offset}" for move in moves)
    return FencedError(f"partitions of {topic} have another offset, owner or parked revision than expected: {expected}")
