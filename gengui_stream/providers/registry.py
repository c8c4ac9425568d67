"""All providers: another one is a folder of its own and a line in `OPENERS`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias

import aiohttp

from gengui_stream.media.object_store import ObjectStore
from gengui_stream.metrics import Metrics
from gengui_stream.providers.context import ProviderContext
from gengui_stream.providers.gemini.provider import open_gemini
from gengui_stream.providers.interface import Provider, Providers
from gengui_stream.providers.local.provider import open_local
from gengui_stream.providers.runpod.provider import open_runpod
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings

Opener: TypeAlias = Callable[[ProviderContext], AbstractAsyncContextManager[Provider | None]]
"""Yields None where the settings do not configure the provider."""

OPENERS: Final[tuple[Opener, ...]] = (open_local, open_gemini, open_runpod)


@asynccontextmanager
async def opened_providers(
    settings: Settings, redis: SharedRedis, store: ObjectStore, metrics: Metrics
) -> AsyncIterator[Providers]:
    """Every configured provider, by name."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, trust_env=True))
        context = ProviderContext(settings=settings, redis=redis, store=store, http=http, metrics=metrics)
        opened = [await stack.enter_async_context(opener(context)) for opener in OPENERS]
        yield {provider.name: provider for provider in opened if provider is not None}
