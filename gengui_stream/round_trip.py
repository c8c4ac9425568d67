"""Measures the latency of a server without the delays of this process."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

TRIES: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RoundTrip(Generic[T]):
    """The fastest of several calls. `middle`: this machine's time halfway between request and response."""

    answer: T
    seconds: float
    middle: datetime


async def fastest(call: Callable[[], Awaitable[T]]) -> RoundTrip[T]:
    """Calls TRIES times in sequence. Raises what `call` raises."""
    trips = [await _timed(call) for _ in range(TRIES)]
    return min(trips, key=lambda trip: trip.seconds)


async def _timed(call: Callable[[], Awaitable[T]]) -> RoundTrip[T]:
    began, clock = time.time(), time.perf_counter()
    answer = await call()
    seconds = time.perf_counter() - clock
    return RoundTrip(answer, seconds, datetime.fromtimestamp(began + seconds / 2, UTC))
