"""Opens the shared client of a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings


@asynccontextmanager
async def opened_redis(settings: Settings) -> AsyncIterator[SharedRedis]:
    """A client over a small pool, which connects when first used, closed at the end."""
    async with opened_client(settings) as client:
        yield shared(client)
