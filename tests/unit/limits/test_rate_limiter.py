"""Counts in this process: never more than the limit, and what decides where requests are counted."""

from structlog.testing import capture_logs

from gengui_stream.errors import TransientError
from gengui_stream.limits.policies import Policy
from gengui_stream.limits.rate_limiter import REDIS_AGAIN_AFTER_S, MemoryRateLimits, RateLimiter
from gengui_stream.metrics import new_metrics
from gengui_stream.redis_io.rate_limits import Count

POLICY = Policy("log_in", 5, 900)


class Switched:
    """Shared counts that can be unavailable."""

    def __init__(self) -> None:
        self.available, self.asked, self._counts = True, 0, MemoryRateLimits()

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        self.asked += 1
        if not self.available:
            raise TransientError("Redis: stopped")
        return await self._counts.count(key, limit, window_s, cost)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_each_key_has_the_whole_limit_and_no_more() -> None:
    limiter = RateLimiter(Switched(), MemoryRateLimits(), new_metrics())
    for key in ("a", "b"):
        found = [await limiter.count(POLICY, key) for _ in range(8)]
        assert [one.limited for one in found if one] == [False] * 5 + [True] * 3
        assert [one.remaining for one in found if one] == [4, 3, 2, 1, 0, 0, 0, 0]
        last = found[-1]
        assert last is not None
        assert 170 < last.retry_s <= 180, "one of five in 900 s"


async def test_policies_do_not_share_a_key() -> None:
    limiter = RateLimiter(Switched(), MemoryRateLimits(), new_metrics())
    other = Policy("sign_up", 5, 900)
    assert [one.limited for _ in range(6) if (one := await limiter.count(POLICY, "a"))][-1]
    found = await limiter.count(other, "a")
    assert found is not None
    assert not found.limited


async def test_zero_is_no_limit() -> None:
    shared = Switched()
    limiter = RateLimiter(shared, MemoryRateLimits(), new_metrics())
    assert await limiter.count(Policy("log_in", 0, 900), "a") is None
    assert shared.asked == 0


async def test_without_shared_counts_the_process_counts_by_the_same_limit() -> None:
    shared, clock, metrics = Switched(), Clock(), new_metrics()
    limiter = RateLimiter(shared, MemoryRateLimits(), metrics, clock)
    shared.available = False
    with capture_logs() as logs:
        found = [await limiter.count(POLICY, "a") for _ in range(8)]
        assert [one.limited for one in found if one] == [False] * 5 + [True] * 3
        assert shared.asked == 1, "a server that hangs must not delay every request"
        clock.now += REDIS_AGAIN_AFTER_S
        await limiter.count(POLICY, "a")
        assert shared.asked == 2
        shared.available = True
        clock.now += REDIS_AGAIN_AFTER_S
        again = await limiter.count(POLICY, "a")
        assert again is not None
        assert not again.limited
    assert [line["event"] for line in logs] == ["rate_limits_local", "rate_limits_shared"]
    assert metrics.registry.get_sample_value("gengui_rate_limits_local_total", {"policy": "log_in"}) == 9
    assert metrics.registry.get_sample_value("gengui_rate_limited_total", {"policy": "log_in"}) == 4
