"""A client that takes nothing of its response holds nothing: its connection ends, and that of a slow one does not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.connections.http_connection import HttpConnection
from api.connections.open_connections import OpenConnections
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import DEADLINE_S, a_request, eventually
from tests.unit.api.starting import get, starting

SMALL = 4_096
EVENTS = 400
INTERVAL_S = 1.0
INTERVALS = 4
PIECE = 64 * 1024
REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def small_socket(port: int) -> AsyncIterator[socket.socket]:
    """A connected socket that receives little without being read."""
    with closing(socket.socket()) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        yield made


async def disconnected(logs: list[EventDict]) -> bool:
    return any(line["event"] == "slow_client_disconnected" for line in logs)


async def read_steadily(client: socket.socket, size: int) -> None:
    """Reads so many bytes at a steady pace, in INTERVALS of the server."""
    loop = asyncio.get_running_loop()
    began, received = loop.time(), 0
    async with asyncio.timeout(DEADLINE_S):
        while received < size:
            chunk = await loop.sock_recv(client, PIECE)
            assert chunk, f"it was disconnected after {received} bytes"
            received += len(chunk)
            await asyncio.sleep(began + INTERVALS * INTERVAL_S * received / size - loop.time())  # the client's pace
    assert loop.time() - began > (INTERVALS - 1) * INTERVAL_S


async def without_end(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(PIECE))


@asynccontextmanager
async def endless_responses() -> AsyncIterator[int]:
    """The port of a server whose responses go on while their clients read."""
    loop, server = asyncio.get_running_loop(), web.Server(without_end, handler_cancellation=True)
    limits = {"receive_timeout_s": DEADLINE_S, "send_timeout_s": INTERVAL_S, "keep_alive_s": DEADLINE_S}
    made = partial(HttpConnection, server, loop, **limits, headers={}, connections=OpenConnections())
    listener = await loop.create_server(made, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(0)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


async def test_a_client_that_reads_nothing_is_disconnected(logs: list[EventDict]) -> None:
    async with starting(http_send_timeout_s=0.3) as port, small_socket(port) as client, asyncio.timeout(DEADLINE_S):
        loop = asyncio.get_running_loop()
        whole = len((await get(port, "/openapi.json")).body)
        requests = 100
        sending = asyncio.ensure_future(loop.sock_sendall(client, REQUEST * requests))
        await eventually(lambda: disconnected(logs))
        sending.cancel()
        received = 0
        with suppress(ConnectionResetError):
            while chunk := await loop.sock_recv(client, 1 << 20):
                received += len(chunk)
        assert received < whole * requests
        unsent = next(line["unsent_bytes"] for line in logs if line["event"] == "slow_client_disconnected")
        assert 0 < unsent < 2 * whole + 65_536, "one response, and not all that was requested"


async def test_a_client_that_reads_slowly_is_served(logs: list[EventDict]) -> None:
    """Many responses on one connection, over several intervals."""
    async with starting(http_send_timeout_s=INTERVAL_S) as port, small_socket(port) as client:
        whole = len((await get(port, "/openapi.json")).body)
        requests = 12
        await asyncio.get_running_loop().sock_sendall(client, REQUEST * requests)
        await read_steadily(client, whole * requests)
        assert not await disconnected(logs)


async def test_a_response_without_end_is_served_while_it_is_read(logs: list[EventDict]) -> None:
    """Of a handler that writes as fast as the client reads: what is left to be sent never gets less."""
    async with endless_responses() as port, small_socket(port) as client:
        await asyncio.get_running_loop().sock_sendall(client, REQUEST)
        await read_steadily(client, 4_000_000)
        assert not await disconnected(logs)
        await eventually(lambda: disconnected(logs))


async def test_an_event_stream_that_is_not_read_is_ended(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, event_log: EventLog, logs: list[EventDict]
) -> None:
    """A chunk of its events is in memory, and not all that it has missed."""
    key = await seed_user(pool, "user@example.com", "user")
    owner_id = await pool.fetchval("SELECT user_id FROM accounts.users")
    prompt = "\u706f" * 10_000
    await event_log.append_many([a_request(owner_id=owner_id, prompt=prompt) for _ in range(EVENTS)])
    short = settings.model_copy(update={"http_send_timeout_s": 0.3})
    async with (
        projecting(settings),
        serving(short, session) as base,
        small_socket(int(base.rpartition(":")[2])) as client,
        asyncio.timeout(DEADLINE_S),
    ):
        head = f"GET /v1/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nLast-Event-ID: beginning\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(client, head.encode())
        await eventually(lambda: disconnected(logs))
        unsent = next(line["unsent_bytes"] for line in logs if line["event"] == "slow_client_disconnected")
        assert unsent < EVENTS * len(prompt.encode())
        assert (await Client(session, base, key).call("GET", "/v1/generations?limit=1"))[0] == 200
