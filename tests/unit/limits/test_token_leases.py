"""Requests that are taken several at a time: never more than the limit, and none lost at a steady rate."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import TransientError
from gengui_stream.limits import token_leases
from gengui_stream.limits.token_leases import LARGEST_SHARE, LEASE_S, LeasedCounts
from gengui_stream.redis_io.rate_limits import Count

LIMIT = 600


@pytest.fixture(autouse=True, scope="module")
def patient() -> Iterator[None]:
    """A call that a busy machine stops is no call that Redis does not answer."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_leases, "ANSWER_WITHIN_S", 60.0)
        yield


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Shared:
    """So many requests, and no more ever: as in a window that does not end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.left, self.calls = limit, 0

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        self.calls += 1
        await asyncio.sleep(0)
        if cost > self.left:
            return Count(limited=True, remaining=self.left, reset_after_s=1.0, retry_after_s=1.0)
        self.left -= cost
        return Count(limited=False, remaining=self.left, reset_after_s=1.0, retry_after_s=0.0)


@given(
    st.lists(st.tuples(st.floats(0, 2 * LEASE_S), st.integers(0, 2), st.integers(1, 20)), max_size=80),
    st.integers(0, 300),
)
def test_never_more_than_the_limit(bursts: list[tuple[float, int, int]], limit: int) -> None:
    """`bursts`: seconds since the one before, the server, and how many requests in parallel."""

    async def run() -> None:
        clock, shared, allowed = Clock(), Shared(limit), 0
        servers = [LeasedCounts(shared, clock) for _ in range(3)]
        for pause, server, parallel in bursts:
            clock.now += pause
            found = await asyncio.gather(*(servers[server].count("k", LIMIT, 60) for _ in range(parallel)))
            allowed += sum(not one.limited for one in found)
            assert allowed <= limit
            assert all(one.remaining >= shared.left for one in found)

    asyncio.run(run())


@given(st.floats(0.000_1, 0.2))
def test_at_a_steady_rate_none_is_lost(every_s: float) -> None:
    async def run() -> None:
        clock, shared = Clock(), Shared()
        counts = LeasedCounts(shared, clock)
        for _ in range(LIMIT - LIMIT // LARGEST_SHARE):
            clock.now += every_s
            assert not (await counts.count("k", LIMIT, 60)).limited

    asyncio.run(run())


async def test_a_busy_user_makes_few_calls() -> None:
    clock, shared = Clock(), Shared()
    counts = LeasedCounts(shared, clock)
    found = [await counts.count("k", LIMIT, 60) for _ in range(LIMIT)]
    assert not any(one.limited for one in found)
    assert [one.remaining for one in found] == list(reversed(range(LIMIT)))
    assert shared.calls <= LIMIT / 8
    assert (await counts.count("k", LIMIT, 60)).limited


async def test_a_small_limit_is_taken_one_by_one() -> None:
    shared = Shared()
    counts = LeasedCounts(shared)
    for _ in range(10):
        await counts.count("k", 2 * LARGEST_SHARE - 1, 60)
    assert shared.calls == 10


class Hanging:
    """Never answers."""

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        answer: asyncio.Future[Count] = asyncio.get_running_loop().create_future()
        return await answer


async def test_requests_that_wait_for_another_one_s_call_are_answered_as_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with one time-out for its wait and its call, and not one after the other."""
    monkeypatch.setattr(token_leases, "ANSWER_WITHIN_S", 0.05)
    counts = LeasedCounts(Hanging())
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(counts.count("k", LIMIT, 60) for _ in range(1_000)), return_exceptions=True)
    assert {type(each) for each in found} == {TransientError}
