"""Counts requests in Redis; while it is unavailable, in this process, by the same limits: never without any."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from throttled.asyncio import MemoryStore

from gengui_stream.errors import TransientError
from gengui_stream.limits.policies import Policy, Standing
from gengui_stream.limits.token_leases import Counts
from gengui_stream.metrics import Metrics
from gengui_stream.redis_io.rate_limits import Count, GcraLimits

KEYS_REMEMBERED: Final = 100_000
"""Of this process, while Redis is unavailable. With more the least recent are forgotten: some 30 MB."""

REDIS_AGAIN_AFTER_S: Final = 1.0
"""Redis is not asked for so long after it failed to answer: a Redis that hangs delays one request of these, not all."""

_log = structlog.get_logger(__name__)


class MemoryRateLimits(GcraLimits):
    """Counts of this process alone."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(options={"MAX_SIZE": KEYS_REMEMBERED}))


class RateLimiter:
    def __init__(
        self, shared: Counts, own: Counts, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared, self._own, self._metrics, self._clock = shared, own, metrics, clock
        self._asks_again_at = float("-inf")

    async def count(self, policy: Policy, key: str) -> Standing | None:
        """Counts a request of this key, unless it is beyond the limit; None for a policy without a limit."""
        if not policy.limit:
            return None
        found = await self._counted(policy, f"{policy.name}:{key}")
        if found.limited:
            self._metrics.rate_limited.labels(policy.name).inc()
        return Standing(policy, found.limited, found.remaining, found.reset_after_s, found.retry_after_s)

    async def _counted(self, policy: Policy, key: str) -> Count:
        if self._clock() >= self._asks_again_at:
            try:
                found = await self._shared.count(key, policy.limit, policy.window_s)
            except TransientError as error:
                self._unavailable(error)
            else:
                self._available()
                return found
        self._metrics.rate_limits_local.labels(policy.name).inc()
        return await self._own.count(key, policy.limit, policy.window_s)

    def _unavailable(self, error: TransientError) -> None:
        if self._asks_again_at == float("-inf"):
            _log.warning("rate_limits_local", error=str(error))
        self._asks_again_at = self._clock() + REDIS_AGAIN_AFTER_S

    def _available(self) -> None:
        if self._asks_again_at != float("-inf"):
            self._asks_again_at = float("-inf")
            _log.info("rate_limits_shared")
