"""The lag of the projections behind the log."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gengui_stream.errors import TransientError
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import checkpoints
from gengui_stream.settings import Settings

ANSWERED_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`end`: the next offset of the log. `next_offset`: the checkpoint. `seconds`: the age of the oldest event between
    them."""

    partition: int
    end: int
    next_offset: int
    events: int
    seconds: float


async def measure_lag(settings: Settings, pool: Pool) -> list[PartitionLag]:
    """One for each partition. Raises TransientError when a server is unavailable, ConfigurationError when the topic
    does not match the settings."""
    await check_topic(settings)
    held = dict.fromkeys(range(settings.events_partitions), 0)
    held |= await checkpoints.projected(pool, settings.events_topic)
    async with open_reader(settings, held, held) as reader, _answered_in_time(settings):
        ends = await reader.ends()
        oldest = await _oldest(reader, held, ends)
    return [_lag(partition, ends[partition], held[partition], oldest.get(partition)) for partition in sorted(held)]


async def log_ends(settings: Settings) -> dict[int, int]:
    """The next offset of each partition of the log. Raises TransientError when the broker does not answer."""
    async with open_reader(settings) as reader, _answered_in_time(settings):
        return await reader.ends()


@asynccontextmanager
async def _answered_in_time(settings: Settings) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            yield
    except TimeoutError as error:
        raise TransientError(f"the broker did not answer for every partition of {settings.events_topic}") from error


async def _oldest(reader: LogReader, held: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """The timestamp of the first record after each position, in Unix milliseconds; without partitions that have
    none."""
    oldest: dict[int, int] = {}
    while any(end > held[partition] and partition not in oldest for partition, end in ends.items()):
        for record in await reader.read():
            oldest.setdefault(record.partition, record.timestamp or 0)
    return oldest


def _lag(partition: int, end: int, next_offset: int, oldest_ms: int | None) -> PartitionLag:
    events = max(0, end - next_offset)
    seconds = max(0.0, time.time() - oldest_ms / 1000) if events and oldest_ms is not None else 0.0
    return PartitionLag(partition, end, next_offset, events, round(seconds, 3))
