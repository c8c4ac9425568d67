"""A client-side rate limit: callers wait until the next call is within it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class SlidingWindow:
    """The times of calls, so that no window has more than `limit` of them. Pure: the time is an argument."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._window_s = window_s
        self._latest: deque[float] = deque(maxlen=limit)

    def reserve(self, now: float) -> float:
        """Reserves the earliest time from now on that is within the limit, and returns it."""
        full = len(self._latest) == self._latest.maxlen
        at = max(now, self._latest[0] + self._window_s) if full else now
        at = max(at, self._latest[-1]) if self._latest else at
        self._latest.append(at)
        return at


class SlidingWindowLimiter:
    """`await acquire()` before each call."""

    def __init__(self, limit: int, window_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = SlidingWindow(limit, window_s)
        self._clock = clock

    async def acquire(self) -> None:
        now = self._clock()
        wait_s = self._window.reserve(now) - now
        if wait_s > 0:
            await asyncio.sleep(wait_s)
