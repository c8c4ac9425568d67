"""A partition is live once its owner has projected the log up to the end that it found. From then on it makes jobs, and
its owner vouches for it, so that they are claimed (law 5)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import structlog

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.owned_partition import OwnedPartition
from gengui_stream.projections import job_rows, partition_owners

VOUCH_EVERY_S: Final = 3.0
SWEEP_EVERY_S: Final = 60.0

Live: TypeAlias = Callable[[], Mapping[int, int]]
"""The epochs of the live partitions of this process, by partition."""

_log = structlog.get_logger(__name__)


async def go_live(pool: Pool, held: OwnedPartition, timings: JobTimings) -> None:
    """Makes the jobs of a partition that has just caught up; no other partition changes. Raises TransientError while
    PostgreSQL is unavailable."""
    if held.live or not held.caught_up:
        return
    partition = held.claim.partition
    made = await job_rows.make_missing(pool, partition, timings)
    await job_rows.bring_forward(pool, partition, timings)
    await job_rows.expedite_ended(pool, partition)
    await partition_owners.vouch(pool, {partition: held.claim.epoch})
    held.live = True
    _log.info("partition_live", partition=partition, next_offset=held.claim.next_offset, jobs_made=made)


async def keep_vouching(pool: Pool, live: Live, timings: JobTimings) -> None:
    """Vouches for the live partitions, without end, and makes jobs that are missing, which only an operator's mistake
    can cause. While PostgreSQL is unavailable no job can be claimed either."""
    swept_at = time.monotonic()
    while True:
        await asyncio.sleep(VOUCH_EVERY_S)
        try:
            await partition_owners.vouch(pool, live())
            if time.monotonic() - swept_at > SWEEP_EVERY_S:
                swept_at = time.monotonic()
                await sweep(pool, live(), timings)
        except TransientError as error:
            _log.warning("not_vouched", error=str(error))


async def sweep(pool: Pool, live: Mapping[int, int], timings: JobTimings) -> int:
    """Makes the jobs that open generations of these partitions should have and do not; returns their number."""
    made = sum([await job_rows.make_missing(pool, partition, timings) for partition in live])
    if made:
        _log.warning("missing_jobs_made", jobs=made)
    return made
