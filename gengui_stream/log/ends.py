"""The current ends of the log's partitions."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeAlias

from gengui_stream.log.reader import open_reader
from gengui_stream.settings import Settings

LogEnds: TypeAlias = Callable[[Collection[int]], Awaitable[Mapping[int, int]]]
"""The offset that the next record of each partition will have. Raises TransientError without an answer."""

CLOSE_S: Final = 5.0


def log_ends(settings: Settings) -> LogEnds:
    async def ends(partitions: Collection[int]) -> Mapping[int, int]:
        reading = asyncio.ensure_future(_read(settings, partitions))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await _finished(reading)
            raise

    return ends


async def _read(settings: Settings, partitions: Collection[int]) -> Mapping[int, int]:
    if not partitions:
        return {}
    async with open_reader(settings, partitions=partitions) as reader:
        return await reader.ends()


async def _finished(reading: asyncio.Future[Mapping[int, int]]) -> None:
    """aiokafka leaves a connection open when it is cancelled while it makes it, so the reader closes by itself."""
    await asyncio.wait({reading}, timeout=CLOSE_S)
    if reading.done() and not reading.cancelled():
        reading.exception()  # retrieved: the caller is cancelled
    reading.cancel()
