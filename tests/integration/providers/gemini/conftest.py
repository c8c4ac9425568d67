"""The provider Gemini at a fake server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest_asyncio
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from gengui_stream.fakes.gemini.script import READY, GeminiBehaviour, GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import Rule
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.media.store_errors import ObjectMissing
from gengui_stream.metrics import Metrics
from gengui_stream.providers.interface import (
    DispatchOutcome,
    DispatchRequest,
    Provider,
)
from gengui_stream.providers.registry import opened_providers
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings, load_settings
from tests.dispatches import a_dispatch

KEY = "AIza-hunter2"


MODEL = "gemini-3.1-flash-image"


def a_request(attempt: int = 1, seed: int = 7, traceparent: str | None = None) -> DispatchRequest:
    return a_dispatch(attempt=attempt, seed=seed, width=1344, height=768, model=MODEL, traceparent=traceparent)


def small(*behaviours: GeminiBehaviour) -> GeminiScript:
    """Applied to every request, with small images."""
    rules = tuple(Rule[GeminiBehaviour](then=behaviour) for behaviour in behaviours)
    return GeminiScript(rules=rules, image_side_max=64)


def ready(name: str) -> GeminiScript:
    return READY[name].model_copy(update={"image_side_max": 64})


@dataclass(frozen=True)
class Scene:
    """The provider as the registry opens it, its server, and its object store."""

    gemini: Provider
    server: GeminiServer
    store: ObjectStore
    metrics: Metrics

    async def after(self, name: str) -> DispatchOutcome:
        """The outcome of that ready script."""
        self.server.play(ready(name))
        return await self.gemini.dispatch(a_request())

    async def is_empty(self, request: DispatchRequest) -> bool:
        for mime_type in ("image/png", "image/jpeg", "image/webp"):
            try:
                await self.store.get(media_key(request.owner_id, request.generation_id, mime_type), 10**7)
            except ObjectMissing:
                continue
            return False
        return True


def with_gemini(settings: Settings, url: str, **changes: object) -> Settings:
    gemini = {"gemini_api_key": SecretStr(KEY), "gemini_base_url": url, "gemini_timeout_s": 30.0}
    return settings.model_copy(update=gemini | changes)


@asynccontextmanager
async def opened(settings: Settings, metrics: Metrics) -> AsyncIterator[tuple[Provider, ObjectStore]]:
    async with (
        opened_client(settings) as redis,
        open_object_store(settings) as store,
        opened_providers(settings, shared(redis), store, metrics) as providers,
    ):
        yield providers["gemini"], store


@asynccontextmanager
async def a_scene(settings: Settings, **changes: object) -> AsyncIterator[Scene]:
    metrics = Metrics(CollectorRegistry())
    async with (
        fake_gemini(small(), key=KEY) as server,
        opened(with_gemini(settings, server.url, **changes), metrics) as (gemini, store),
    ):
        yield Scene(gemini, server, store, metrics)


@pytest_asyncio.fixture
async def settings(stack: Mapping[str, str]) -> Settings:
    """Without database and topic, as a provider uses neither."""
    made = load_settings({**stack, "S3_BUCKET": "test-gemini"}, env_files=())
    async with open_object_store(made) as store:
        await store.ensure_bucket()
    return made


@pytest_asyncio.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with a_scene(settings) as made:
        yield made
