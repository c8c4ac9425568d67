"""Interruptions between a projector and PostgreSQL: a lock, a killed connection, a lost response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.settings import Settings
from tests.integration.running import eventually

Projected = TypeVar("Projected")


@asynccontextmanager
async def stopped_at(pool: Pool, table: str) -> AsyncIterator[None]:
    """Writers to `table` wait during the block."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


async def stopped_while_it_waits(
    pool: Pool, table: str, attempt: Coroutine[None, None, Projected]
) -> "asyncio.Task[Projected]":
    """The attempt, once it waits to write to the table."""
    running = asyncio.create_task(attempt)
    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
    await eventually(lambda: pool.fetchval(waiting, table))
    return running


async def killed(pool: Pool, table: str, attempt: Coroutine[None, None, Projected]) -> None:
    """The connection of the attempt ends while it waits to write to the table."""
    async with stopped_at(pool, table):
        running = await stopped_while_it_waits(pool, table, attempt)
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table
        )
        with pytest.raises(TransientError):
            await running


class CuttingProxy:
    """Between a client and PostgreSQL. Armed, it ends both connections at the next message that holds `commit`: before
    the server has received it, or when the server has done it and is about to respond."""

    def __init__(self, server_port: int, commit: bytes, *, made: bool) -> None:
        self.armed = False
        self._server_port = server_port
        self._commit = commit
        self._made = made
        self._pumps: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port it listens on."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        cut = asyncio.Event()

        async def there() -> None:
            while sent := await client.read(65_536):
                if self.armed and self._commit in sent:
                    cut.set()
                    self.armed = False
                    if not self._made:
                        break
                to_server.write(sent)
            to_server.close()

        async def back() -> None:
            while sent := await server.read(65_536):
                if cut.is_set():
                    break
                to_client.write(sent)
            to_client.close()

        for pump in (there(), back()):
            task = asyncio.ensure_future(self._until_closed(pump))
            self._pumps.add(task)

    async def _until_closed(self, pump: Awaitable[None]) -> None:
        with suppress(ConnectionError):
            await pump


@asynccontextmanager
async def cut_off(database: Settings, commit: bytes, *, made: bool) -> AsyncIterator[tuple[CuttingProxy, Pool]]:
    """A pool whose connections go through a proxy that is not armed yet."""
    address = urlsplit(database.database_dsn)
    assert address.port is not None
    proxy = CuttingProxy(address.port, commit, made=made)
    async with proxy.open() as port:
        through = database.database_dsn.replace(f":{address.port}/", f":{port}/")
        async with opened_pool(database.model_copy(update={"database_url": SecretStr(through)})) as pool:
            yield proxy, pool
