"""A worker over HTTP, a dispatcher that fills the queue, and the client of the queue."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.workers.job_worker import JobWorker
from tests.integration.running import running


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"local_models": "local-sketch,small,large"})


@pytest_asyncio.fixture
async def dispatching(settings: Settings, base: str) -> AsyncIterator[None]:
    async with running(run_dispatch, settings):
        yield


@pytest_asyncio.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    async with opened_client(settings) as opened:
        yield opened


@pytest.fixture
def box(worker: Client, dispatching: None) -> JobWorker:
    """A worker, with a dispatcher that fills the queue."""
    return JobWorker(worker)
