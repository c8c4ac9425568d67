"""The end of an API process: no client on a kept connection loses a request or its response. None of this needs the
servers behind it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp

from api.server import served_api
from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S, eventually, role_context

CLIENTS: Final = 20
NOWHERE: Final = {"kafka_bootstrap_servers": "127.0.0.1:1", "db_port": 1, "port": 0}


@asynccontextmanager
async def serving(drain_s: float) -> AsyncIterator[str]:
    async with served_api(role_context(Settings.model_validate(NOWHERE)), drain_s=drain_s) as port:
        yield f"http://127.0.0.1:{port}"


async def until_closed(base: str, answered: Counter[int]) -> None:
    """Sends one request after the other on one connection, until a response announces the end of it. The client repeats
    no POST by itself."""
    async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(limit=1)) as http:
        announced = False
        while not announced:
            async with http.post("/v1/generations", json={}) as response:
                await response.read()
                answered[response.status] += 1
                announced = response.headers.get("Connection") == "close"
            await asyncio.sleep(0.005)  # the client's pace: the connection is idle for a moment


async def test_a_kept_connection_ends_with_a_response_that_announces_it() -> None:
    answered = Counter[int]()

    async def many() -> bool:
        return answered.total() > 5 * CLIENTS

    async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as api:
        base = await api.enter_async_context(serving(drain_s=5.0))
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(until_closed(base, answered))
            await eventually(many)
            await api.aclose()
    assert set(answered) == {401}


async def test_an_idle_connection_delays_the_end_for_no_longer_than_that() -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as api, aiohttp.ClientSession() as http:
        base = await api.enter_async_context(serving(drain_s=0.3))
        async with http.get(f"{base}/livez") as response:
            assert "Connection" not in response.headers
            await response.read()
        began = loop.time()
        await api.aclose()
        assert 0.3 <= loop.time() - began < DEADLINE_S
