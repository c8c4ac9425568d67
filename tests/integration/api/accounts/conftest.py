"""A visitor, and one that is logged in. The API has no projector beside it unless a test asks for one."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.visitors import an_account, log_in, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting


@pytest_asyncio.fixture
async def base(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    async with serving(settings, session) as address:
        yield address


@pytest_asyncio.fixture
async def projector(settings: Settings) -> AsyncIterator[None]:
    async with projecting(settings):
        yield


@pytest_asyncio.fixture
async def visitor(base: str) -> AsyncIterator[Client]:
    async with visiting(base) as client:
        yield client


@pytest_asyncio.fixture
async def ada(base: str, pool: Pool) -> AsyncIterator[Client]:
    """Logged in as `ada`, whose address is verified."""
    await an_account(pool, "ada")
    async with visiting(base) as client:
        await log_in(client, "ada")
        yield client
