"""A partition is live once its owner has projected the log up to the end that it found. From then on it makes jobs, and
its owner vouches for it, so that they are claimed (law 5)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
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

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Raises FencedError when this process may not vouch for what it holds."""

_log = structlog.get_logger(__name__)


class LivePartitions:
    """What one owner vouches for, and what it has withdrawn. A pause may come while a partition goes live, and between
    a look at the live partitions and the vouching for them: each is decided again under one lock."""

    def __init__(self, pool: Pool, timings: JobTimings) -> None:
        self._pool = pool
        self._timings = timings
        self._changing = asyncio.Lock()

    async def go_live(self, held: OwnedPartition) -> None:
        """Makes the jobs of a partition that has just caught up; no other partition changes. Raises TransientError
        while PostgreSQL is unavailable."""
        if not held.may_go_live():
            return
        partition = held.claim.partition
        made = await job_rows.make_missing(self._pool, partition, self._timings)
        await job_rows.bring_forward(self._pool, partition, self._timings)
        await job_rows.expedite_ended(self._pool, partition)
        async with self._changing:
            if not held.may_go_live():  # it was paused meanwhile
                return
            await partition_owners.vouch(self._pool, {partition: held.claim.epoch})
            held.live = True
        _log.info("partition_live", partition=partition, next_offset=held.claim.next_offset, jobs_made=made)

    async def stand_still(self, paused: Collection[OwnedPartition]) -> None:
        """Before a pause: no job of these partitions is claimed until they have caught up after it. Raises
        TransientError while PostgreSQL is unavailable."""
        async with self._changing:
            for held in paused:
                held.paused, held.live = True, False
            await partition_owners.withdraw(self._pool, {held.claim.partition: held.claim.epoch for held in paused})

    async def go_on(self, held: OwnedPartition, log_end: int) -> None:
        """After a pause. The log goes on meanwhile: the partition is live once it has reached this end."""
        held.paused, held.log_end = False, log_end
        await self.go_live(held)

    async def keep_vouching(self, live: Live, check: Check) -> None:
        """Vouches for the live partitions, without end, and makes jobs that are missing, which only an operator's
        mistake can cause. `check` comes before each. While PostgreSQL is unavailable no job can be claimed either."""
        swept_at = time.monotonic()
        while True:
            await asyncio.sleep(VOUCH_EVERY_S)
            try:
                await check()
                async with self._changing:
                    await partition_owners.vouch(self._pool, live())
                if time.monotonic() - swept_at > SWEEP_EVERY_S:
                    swept_at = time.monotonic()
                    await check()
                    await sweep(self._pool, live(), self._timings)
            except TransientError as error:
                _log.warning("not_vouched", error=str(error))


async def sweep(pool: Pool, live: Mapping[int, int], timings: JobTimings) -> int:
    """Makes the jobs that open generations of these partitions should have and do not; returns their number."""
    made = sum([await job_rows.make_missing(pool, partition, timings) for partition in live])
    if made:
        _log.warning("missing_jobs_made", jobs=made)
    return made
