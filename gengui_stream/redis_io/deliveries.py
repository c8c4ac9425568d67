"""How often the entries of a stream were delivered to the consumers of a group."""

from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis


class Deliveries:
    """Of one group of one stream. Raises TransientError while Redis is unavailable."""

    def __init__(self, redis: SharedRedis, stream: str, group: str) -> None:
        self._redis = client_of(redis)
        self._stream = stream
        self._group = group

    async def count(self, entry_id: str) -> int:
        """How often a pending entry was delivered; 1 for any other."""
        with transient_errors():
            rows = await self._redis.xpending_range(self._stream, self._group, min=entry_id, max=entry_id, count=1)
        return int(rows[0]["times_delivered"]) if rows else 1
