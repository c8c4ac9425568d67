"""The one place where providers are named: a fourth is a folder of its own and a line in `OPENERS`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias

import aiohttp
from redis.asyncio import Redis

from gengui_stream.media.object_store import ObjectStore
from gengui_stream.metrics import Metrics
from gengui_stream.providers.context import Surroundings
from gengui_stream.providers.gemini.provider import open_gemini
from gengui_stream.providers.interface import Provider, Providers
from gengui_stream.providers.local.provider import open_local
from gengui_stream.providers.runpod.provider import open_runpod
from gengui_stream.settings import Settings

Opener: TypeAlias = Callable[[Surroundings], AbstractAsyncContextManager[Provider | None]]
"""Yields None where the settings do not ask for the provider."""

OPENERS: Final[tuple[Opener, ...]] = (open_local, open_gemini, open_runpod)


@asynccontextmanager
async def opened_providers(
    settings: Settings, redis: Redis, store: ObjectStore, metrics: Metrics
) -> AsyncIterator[Providers]:
    """Every provider that the settings ask for, by name."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        around = Surroundings(settings=settings, redis=redis, store=store, http=http, metrics=metrics)
        found = [await stack.enter_async_context(opener(around)) for opener in OPENERS]
        yield {provider.name: provider for provider in found if provider is not None}
