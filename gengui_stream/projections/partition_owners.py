"""The owner of each partition vouches for a few seconds at a time that the read models have caught up with the log.

The jobs of other partitions are not claimed: their states may be older than what the log says has been done (law 5).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from gengui_stream.postgres.pool import Pool, transient_errors

VALID_FOR: Final = timedelta(seconds=10)
"""After the owner's end, jobs are claimed for at most that long."""

SET: Final = """
INSERT INTO jobs.partition_owners AS o (partition, owner_epoch, valid_until)
SELECT partition, epoch, CASE WHEN $3::interval IS NULL THEN '-infinity' ELSE now() + $3::interval END
FROM unnest($1::smallint[], $2::bigint[]) AS owned (partition, epoch)
ON CONFLICT (partition) DO UPDATE SET owner_epoch = EXCLUDED.owner_epoch, valid_until = EXCLUDED.valid_until
WHERE o.owner_epoch <= EXCLUDED.owner_epoch
"""

LIVE: Final = "SELECT partition FROM jobs.partition_owners WHERE valid_until > now()"


async def vouch(pool: Pool, epochs: Mapping[int, int]) -> None:
    """`epochs`: of the owner's claim, by partition. Has no effect on the partitions that a later owner has claimed.
    Raises TransientError while PostgreSQL is unavailable."""
    await _set(pool, epochs, VALID_FOR)


async def withdraw(pool: Pool, epochs: Mapping[int, int]) -> None:
    """From now on no job of these partitions is claimed, whatever an earlier owner vouched for."""
    await _set(pool, epochs, None)


async def live(pool: Pool) -> set[int]:
    """The partitions that an owner vouches for. Raises TransientError while PostgreSQL is unavailable."""
    with transient_errors():
        return {row["partition"] for row in await pool.fetch(LIVE)}


async def _set(pool: Pool, epochs: Mapping[int, int], valid_for: timedelta | None) -> None:
    if epochs:
        with transient_errors():
            await pool.execute(SET, list(epochs), list(epochs.values()), valid_for)
