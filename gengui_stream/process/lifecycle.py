"""Waiting and stopping: a role waits for unavailable servers, and ends at a shutdown. Otherwise it is crash-only."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from gengui_stream.errors import TransientError

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class ShutdownRequested(Exception):
    """The shutdown came during a wait."""


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Waits for `seconds`, or until `stop` is set. Returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def retry_transient(attempt: Callable[[], Awaitable[T]], stop: asyncio.Event, *, operation: str) -> T:
    """Calls `attempt` until it raises no TransientError, with growing, jittered pauses. Raises ShutdownRequested when
    `stop` is set meanwhile. `operation`: the name of the call in the log of each failure."""
    seconds = FIRST_PAUSE_S
    while True:
        try:
            return await attempt()
        except TransientError as error:
            _log.warning("waiting", operation=operation, error=str(error), retry_in_s=round(seconds, 2))
        if await pause(stop, seconds * random.uniform(0.5, 1.0)):
            raise ShutdownRequested(operation)
        seconds = min(seconds * 2, LONGEST_PAUSE_S)
