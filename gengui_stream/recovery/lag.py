"""The lag of the projections behind the log."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import asyncpg

from gengui_stream.log.lookup.records import LogLookup, opened_lookup
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.progress.catch_up import CatchUp, Sample, catch_up
from gengui_stream.projections.dead_letters import Held, held_back
from gengui_stream.projections.outcomes import appended_at
from gengui_stream.recovery.pauses import Pause, pauses
from gengui_stream.settings import Settings

SAMPLE_S: Final = 1.0
"""Between the two measurements of a rate."""

NONE_HELD: Final = Held()


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`end`: the next offset of the log. `next_offset`: the checkpoint. `seconds`: the age of the oldest event between
    them; `oldest`: when it was appended. `held`: dead letters, and what is parked behind them. `pause`: None unless an
    operator has paused the partition. `measured_at`: of a monotonic clock."""

    partition: int
    end: int
    next_offset: int
    events: int
    seconds: float
    oldest: datetime | None = None
    held: Held = NONE_HELD
    pause: Pause | None = None
    measured_at: float = 0.0

    def since(self, earlier: "PartitionLag") -> CatchUp:
        return catch_up(earlier.sample, self.sample, paused=self.pause is not None)

    @property
    def sample(self) -> Sample:
        return Sample(self.measured_at, self.next_offset, self.end)


class LagMeter:
    """Measures again and again over the same connections."""

    def __init__(self, settings: Settings, pool: Pool, log: LogLookup) -> None:
        self._topic = settings.events_topic
        self._pool = pool
        self._log = log

    async def measure(self) -> list[PartitionLag]:
        """One for each partition. Raises TransientError when a server is unavailable."""
        paused, held = await pauses(self._pool, self._topic), await held_back(self._pool, self._topic)
        rows = await self._checkpoints()
        ends, now = await self._log.ends(), time.monotonic()
        return [
            replace(
                await self._lag(partition, end, rows.get(partition)),
                held=held.get(partition, NONE_HELD),
                pause=paused.get(partition),
                measured_at=now,
            )
            for partition, end in sorted(ends.items())
        ]

    async def measure_twice(self) -> tuple[list[PartitionLag], list[PartitionLag]]:
        """With SAMPLE_S in between if anything is behind: two measurements tell the rate."""
        first = await self.measure()
        if not any(lag.events for lag in first):
            return first, first
        await asyncio.sleep(SAMPLE_S)
        return first, await self.measure()

    async def _checkpoints(self) -> Mapping[int, asyncpg.Record]:
        with transient_errors():
            rows = await self._pool.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, self._topic)
        return {row["partition"]: row for row in rows}

    async def _lag(self, partition: int, end: int, checkpoint: asyncpg.Record | None) -> PartitionLag:
        next_offset = checkpoint["next_offset"] if checkpoint else 0
        events = max(0, end - next_offset)
        oldest = await self._oldest(partition, next_offset, checkpoint) if events else None
        seconds = round(max(0.0, (datetime.now(UTC) - oldest).total_seconds()), 3) if oldest else 0.0
        return PartitionLag(partition, end, next_offset, events, seconds, oldest)

    async def _oldest(self, partition: int, offset: int, checkpoint: asyncpg.Record | None) -> datetime | None:
        """When the first record from this offset on was appended; of one that cannot be read, when the checkpoint
        reached it."""
        record = await self._log.first_from(partition, offset)
        if record is None:
            return None
        if record.timestamp:
            return appended_at(record)
        return checkpoint["updated_at"] if checkpoint else None


@asynccontextmanager
async def opened_lag_meter(settings: Settings, pool: Pool) -> AsyncIterator[LagMeter]:
    """Raises TransientError when no broker is reachable, ConfigurationError when the topic does not match the
    settings."""
    await check_topic(settings)
    async with opened_lookup(settings) as log:
        yield LagMeter(settings, pool, log)


async def measure_lag(settings: Settings, pool: Pool) -> Sequence[PartitionLag]:
    """One for each partition. Raises the errors of `opened_lag_meter`."""
    async with opened_lag_meter(settings, pool) as meter:
        return await meter.measure()


async def log_ends(settings: Settings) -> dict[int, int]:
    """The next offset of each partition of the log. Raises TransientError when the broker does not answer."""
    async with opened_lookup(settings) as log:
        return await log.ends()
