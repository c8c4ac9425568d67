"""Heeds the pauses of partitions that operators order, which a table keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeAlias

import structlog

from gengui_stream.errors import TransientError

READ_EVERY_S: Final = 1.0

Pauses: TypeAlias = Callable[[], Awaitable[Collection[int]]]
"""The paused partitions. Raises TransientError while PostgreSQL is unavailable."""

_log: Final = structlog.get_logger(__name__)


async def no_pauses() -> Collection[int]:
    """Nothing is paused."""
    return ()


async def keep_reading(pauses: Pauses, heed: Callable[[frozenset[int]], Awaitable[None]]) -> None:
    """Passes the pauses on every second, without end; while a server is unavailable, those known before stay."""
    while True:
        await asyncio.sleep(READ_EVERY_S)
        try:
            await heed(frozenset(await pauses()))
        except TransientError as error:
            _log.warning("pauses_not_read", error=str(error))
