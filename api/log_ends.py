"""The ends of the log as of a moment, for all requests of the process."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gengui_stream.errors import TransientError
from gengui_stream.log.ends import LogEnds

ANSWER_WITHIN_S: Final = 2.0

_log = structlog.get_logger(__name__)


class LogEndsCache:
    """However many requests ask, the broker is asked once at a time."""

    def __init__(self, read: LogEnds, partitions: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._partitions = range(partitions)
        self._clock = clock
        self._reading = asyncio.Lock()
        self._asked_at = float("-inf")
        self._ends: Mapping[int, int] | None = None

    async def current(self, max_age_s: float = 0.0) -> Mapping[int, int] | None:
        """The next offset of each partition, at most `max_age_s` before this call; None without an answer of the
        broker."""
        needed_from = self._clock() - max_age_s
        async with self._reading:
            if self._asked_at < needed_from:
                asked_at = self._clock()
                self._ends = await self._answer()
                self._asked_at = asked_at
            return self._ends

    async def _answer(self) -> Mapping[int, int] | None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._read(self._partitions)
        except (TransientError, TimeoutError) as error:
            _log.warning("log_ends_unknown", error=repr(error))
            return None
