"""The health of Redis: whether it answers, and whether it takes writes. It may answer and be full, unable to save, or a
replica."""

import asyncio
from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from gengui_stream.errors import TransientError
from gengui_stream.process.lifecycle import ShutdownRequested, pause, retry_transient
from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis

PROBE: Final = "gengui:probe"
"""A stream that does not exist, and that NOMKSTREAM does not make."""

CHECK_EVERY_S: Final = 5.0


class RedisHealth:
    """Checks that create nothing. Each raises TransientError when Redis is unavailable."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = client_of(redis)

    async def ping(self) -> None:
        with transient_errors():
            await self._redis.ping()

    async def check_writes(self) -> None:
        """Raises TransientError also when Redis rejects writes, which it does before it looks at the key."""
        try:
            with transient_errors():
                await self._redis.xadd(PROBE, {"probe": ""}, nomkstream=True)
        except NoPermissionError:  # which keys the user may write is a matter of `doctor`
            return

    async def refusal_of_writes(self) -> str | None:
        """Why Redis rejects writes; None: it does not, or does not answer."""
        try:
            await self.check_writes()
        except TransientError as error:
            refused = isinstance(error.__cause__, ResponseError)
            return str(error) if refused else None
        return None

    async def keep_checking(self, stop: asyncio.Event) -> None:
        """Checks until `stop` is set. While Redis rejects writes, the role waits for it, and `/readyz` reports that."""
        while not await pause(stop, CHECK_EVERY_S):
            try:
                await retry_transient(self.check_writes, stop, operation="writes to Redis")
            except ShutdownRequested:
                return
