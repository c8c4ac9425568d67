"""A pause of this process does not count as latency of the server."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from gengui_stream.round_trip import TRIES, fastest


async def test_the_fastest_call_counts() -> None:
    pauses = iter([0.5, 0.0, 0.5])
    calls: list[float] = []

    async def call() -> int:
        calls.append(time.time())
        await asyncio.sleep(next(pauses))
        return len(calls)

    trip = await fastest(call)
    assert (len(calls), trip.answer) == (TRIES, 2)
    assert trip.seconds < 0.5
    assert calls[1] <= trip.middle.timestamp() <= calls[2]
    assert trip.middle <= datetime.now(UTC)


async def test_the_first_error_ends_it() -> None:
    calls: list[None] = []

    async def call() -> None:
        calls.append(None)
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await fastest(call)
    assert len(calls) == 1
