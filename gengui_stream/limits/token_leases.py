"""Takes the requests of a busy user from Redis several at a time, and spends them here, so that most requests make no
call. Never more than the limit: each is counted in Redis before it is spent.

Requests that are taken and not spent within LEASE_S are lost to the user: at most LARGEST_SHARE of the limit for each
process and pause. At a steady rate none are: as many are taken as were spent within the half of LEASE_S.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gengui_stream.errors import TransientError
from gengui_stream.redis_io.rate_limits import ANSWER_WITHIN_S, Count

LEASE_S: Final = 0.25
LARGEST_SHARE: Final = 60
"""One of so many."""

KEYS_LEASED: Final = 10_000

NOTHING_COUNTED: Final = Count(limited=False, remaining=0, reset_after_s=0.0, retry_after_s=0.0)


class Counts(Protocol):
    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        """Counts `cost` requests, all or none. Raises TransientError while the counts are unavailable."""
        ...


@dataclass(slots=True)
class _Lease:
    """`left` of `size` requests, taken at `taken_at`."""

    taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    size: int = 1
    left: int = 0
    taken_at: float = float("-inf")
    counted: Count = NOTHING_COUNTED

    def spent(self, now: float) -> Count | None:
        """None if nothing is left."""
        if not self.left or now - self.taken_at > LEASE_S:
            return None
        self.left -= 1
        return self.counted._replace(remaining=self.counted.remaining + self.left)

    def next_size(self, now: float, largest: int) -> int:
        if self.left or now - self.taken_at > LEASE_S:
            return 1
        return min(largest, self.size * 2 if now - self.taken_at <= LEASE_S / 2 else self.size)


class LeasedCounts:
    def __init__(self, shared: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared, self._clock = shared, clock
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        largest = limit // LARGEST_SHARE
        if largest < 2 or cost != 1:
            return await self._shared.count(key, limit, window_s, cost)
        lease = self._leases.setdefault(key, _Lease())
        if len(self._leases) > KEYS_LEASED:
            self._leases.popitem(last=False)
        return lease.spent(self._clock()) or await self._taken(lease, key, limit, window_s)

    async def _taken(self, lease: _Lease, key: str, limit: int, window_s: int) -> Count:
        """Raises TransientError after ANSWER_WITHIN_S, also of waiting for another request's call: while Redis hangs
        the requests of a user would otherwise wait one after the other."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._taken_in_turn(lease, key, limit, window_s)
        except TimeoutError as error:
            raise TransientError(f"Redis: no answer within {ANSWER_WITHIN_S} s") from error

    async def _taken_in_turn(self, lease: _Lease, key: str, limit: int, window_s: int) -> Count:
        async with lease.taking:
            if found := lease.spent(self._clock()):  # another request took some meanwhile
                return found
            size = lease.next_size(self._clock(), limit // LARGEST_SHARE)
            counted = await self._shared.count(key, limit, window_s, size)
            if counted.limited and size > 1:
                size, counted = 1, await self._shared.count(key, limit, window_s)
            lease.size, lease.counted, lease.taken_at = size, counted, self._clock()
            lease.left = 0 if counted.limited else size - 1
        return counted if counted.limited else counted._replace(remaining=counted.remaining + lease.left)
