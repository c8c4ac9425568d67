"""How far each partition is projected, and who may move it on: compare-and-set on (next_offset, owner_epoch)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from gengui_stream.errors import FencedError
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
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


async def advance(connection: Connection, topic: str, held: Claim, next_offset: int, tally: Tally) -> None:
    """Moves the position inside the caller's transaction. Raises FencedError when the claim is no longer good."""
    outcome = await connection.execute(
        ADVANCE,
        PROJECTION,
        topic,
        held.partition,
        held.next_offset,
        held.epoch,
        next_offset,
        tally.applied,
        tally.ignored,
        tally.dead_lettered,
    )
    if outcome != "UPDATE 1":
        raise FencedError(f"partition {held.partition} of {topic} is not at {held.next_offset} under our epoch")
