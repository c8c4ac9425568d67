"""Hashes, read whole."""

from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis


class Hashes:
    def __init__(self, redis: SharedRedis) -> None:
        self._redis = client_of(redis)

    async def read(self, key: str) -> dict[str, str]:
        """Empty if there is none. Raises TransientError while Redis is unavailable."""
        with transient_errors():
            fields = await self._redis.hgetall(key)
        return {str(name): str(value) for name, value in fields.items()}
