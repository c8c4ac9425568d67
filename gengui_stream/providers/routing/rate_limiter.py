"""Keeping under a rate limit: callers wait for their turn."""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class Schedule:
    """When each call may be made, so that no window has more than `limit` of them. Pure: the time is given."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._window_s = window_s
        self._latest: deque[float] = deque(maxlen=limit)

    def next(self, now: float) -> float:
        """The earliest moment from now on; it is taken thereby."""
        full = len(self._latest) == self._latest.maxlen
        at = max(now, self._latest[0] + self._window_s) if full else now
        at = max(at, self._latest[-1]) if self._latest else at
        self._latest.append(at)
        return at


class Turns:
    """`await turn()` before each call."""

    def __init__(self, limit: int, window_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._schedule = Schedule(limit, window_s)
        self._clock = clock

    async def turn(self) -> None:
        now = self._clock()
        wait_s = self._schedule.next(now) - now
        if wait_s > 0:
            await asyncio.sleep(wait_s)
