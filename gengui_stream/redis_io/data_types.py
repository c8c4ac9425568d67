"""Hashes and sorted sets, by their keys."""

from collections.abc import Collection

from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis


class Hashes:
    """Read whole."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = client_of(redis)

    async def read(self, key: str) -> dict[str, str]:
        """Empty if there is none. Raises TransientError while Redis is unavailable."""
        with transient_errors():
            fields = await self._redis.hgetall(key)
        return {str(name): str(value) for name, value in fields.items()}


class SortedSet:
    """Members with a number each, taken from the lowest. Methods raise TransientError while Redis is unavailable."""

    def __init__(self, redis: SharedRedis, key: str) -> None:
        self._redis = client_of(redis)
        self._key = key

    async def put(self, members: Collection[str], score: float) -> None:
        """Adds the members, or gives them another score."""
        if members:
            with transient_errors():
                await self._redis.zadd(self._key, dict.fromkeys(members, score))

    async def lowest(self, below: float, limit: int) -> list[str]:
        with transient_errors():
            found = await self._redis.zrangebyscore(self._key, "-inf", f"({below}", start=0, num=limit)
        return [str(member) for member in found]

    async def remove(self, members: Collection[str]) -> None:
        if members:
            with transient_errors():
                await self._redis.zrem(self._key, *members)
