"""The provider `runpod` with the shipped fake: its settings, and a job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
from pydantic import SecretStr

from gengui_stream.fakes.runpod.script import READY, JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.context import ProviderContext
from gengui_stream.providers.interface import ProviderJob
from gengui_stream.providers.runpod.provider import RunpodProvider, open_runpod
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings

KEY = "rp-test-key-0123456789"
SECRET = "a secret of webhooks"


def with_runpod(settings: Settings, url: str, **changes: object) -> Settings:
    """`url`: of the fake, without /v2."""
    own = {
        "runpod_api_key": SecretStr(KEY),
        "runpod_endpoint_id": "e1",
        "runpod_base_url": url,
        "runpod_call_timeout_s": 5.0,
    }
    return settings.model_copy(update={**own, **changes})


@asynccontextmanager
async def opened(settings: Settings, server: RunpodServer, **changes: object) -> AsyncIterator[RunpodProvider]:
    made = with_runpod(settings, server.url, **changes)
    async with aiohttp.ClientSession() as http, opened_client(made) as redis, open_object_store(made) as store:
        context = ProviderContext(settings=made, redis=shared(redis), store=store, http=http, metrics=new_metrics())
        async with open_runpod(context) as provider:
            assert provider is not None
            yield provider


def a_job(job_id: str | None, **changes: Any) -> ProviderJob:
    plain: dict[str, Any] = {"dispatched_at": datetime.now(UTC), "provider_job_id": job_id, "endpoint_id": "e1"}
    return ProviderJob(**{**plain, **changes})


def small(name: str) -> RunpodScript:
    """The ready script of that name, with small images."""
    return READY[name].model_copy(update={"image_side_max": 64})


def living(**life: object) -> RunpodScript:
    """Every job behaves like that."""
    return RunpodScript(usual=JobLife.model_validate(life), image_side_max=64)
