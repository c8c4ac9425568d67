"""The API inside the test process, with a projector beside it, and the keys of four users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest_asyncio

from api.server import served_api
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import CHEAP
from tests.integration.api.client import Client
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually, role_context


@asynccontextmanager
async def serving(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """The URL of an API that is ready."""
    async with served_api(role_context(settings), CHEAP) as port:
        address = f"http://127.0.0.1:{port}"

        async def ready() -> bool:
            async with session.get(f"{address}/readyz") as answer:
                return answer.status == 200

        await eventually(ready)
        yield address


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest_asyncio.fixture
async def base(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    async with projecting(settings), serving(settings, session) as address:
        yield address


@pytest_asyncio.fixture
async def user(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "user@example.com", "user"))


@pytest_asyncio.fixture
async def other(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "other@example.com", "user"))


@pytest_asyncio.fixture
async def worker(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "worker@example.com", "worker"))
