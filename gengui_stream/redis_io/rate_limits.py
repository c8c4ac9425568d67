"""Rate limits by GCRA, of the library throttled-py. In Redis: one script a request, by the clock of Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from redis.asyncio import Redis
from throttled.asyncio import BaseAtomicAction, BaseStore, RedisStore, RedisStoreBackend, per_duration
from throttled.asyncio.rate_limiter.gcra import GCRARateLimiter
from throttled.exceptions import StoreUnavailableError

from gengui_stream.errors import TransientError
from gengui_stream.redis_io.clients import open_for_limits, transient_errors
from gengui_stream.settings import Settings

if TYPE_CHECKING:
    from throttled.types import AsyncRedisClientP

PREFIX: Final = "gengui:limits"

ANSWER_WITHIN_S: Final = 0.5
"""A request is delayed by no more than this while Redis hangs."""


class Count(NamedTuple):
    """`remaining`: requests that are allowed at once. `reset_after_s`: until all are; `retry_after_s`: until one is."""

    limited: bool
    remaining: int
    reset_after_s: float
    retry_after_s: float


class GcraLimits:
    """Counts of requests in a store of the library."""

    def __init__(self, store: BaseStore) -> None:
        @lru_cache(maxsize=64)
        def limiter(limit: int, window_s: int) -> GCRARateLimiter:
            quota = per_duration(timedelta(seconds=window_s), limit)
            return GCRARateLimiter(quota, store, key_prefix=PREFIX)

        self._limiter = limiter

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        """Counts `cost` requests, or none if one is beyond the limit."""
        result = await self._limiter(limit, window_s).limit(key, cost)
        state = result.state
        return Count(result.limited, state.remaining, state.reset_after, state.retry_after)


class _Backend(RedisStoreBackend):
    def __init__(self, client: Redis) -> None:
        super().__init__()
        self._redis = cast("AsyncRedisClientP", client)

    def get_client(self) -> "AsyncRedisClientP":
        return self._redis


class _Store(RedisStore):
    """Over a client of ours, with its time-outs and TLS, in place of a pool of the library's."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        self._ours = _Backend(client)

    def make_atomic(self, action_cls: type[BaseAtomicAction]) -> BaseAtomicAction:
        return action_cls(backend=self._ours)


class RedisRateLimits:
    """Counts of requests that all processes share."""

    def __init__(self, client: Redis) -> None:
        self._limits = GcraLimits(_Store(client))

    async def count(self, key: str, limit: int, window_s: int, cost: int = 1) -> Count:
        """Counts `cost` requests, or none if one is beyond the limit. Raises TransientError while Redis is unavailable,
        after ANSWER_WITHIN_S at the latest."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                with transient_errors(), _of_redis():
                    return await self._limits.count(key, limit, window_s, cost)
        except TimeoutError as error:
            raise TransientError(f"Redis: no answer within {ANSWER_WITHIN_S} s") from error


@contextmanager
def _of_redis() -> Iterator[None]:
    """Raises the errors of redis-py, which the library wraps."""
    try:
        yield
    except StoreUnavailableError as error:
        raise error.__cause__ or error from None


@asynccontextmanager
async def opened_rate_limits(settings: Settings) -> AsyncIterator[RedisRateLimits]:
    """On connections of their own, so that a slow command of another use delays no request. Connects when first
    used."""
    client = open_for_limits(settings)
    try:
        yield RedisRateLimits(client)
    finally:
        await client.aclose()
