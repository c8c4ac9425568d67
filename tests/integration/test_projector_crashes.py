"""The projector while it, its connection or the server dies: exactly once, in every window."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from gengui_stream.errors import FencedError, TransientError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projections.folding import Applied, Dead
from gengui_stream.projections.projector import ProjectedBatch, Projector
from gengui_stream.settings import Settings
from tests.events import FakeRecord, wide_history
from tests.integration.projections import TABLES, TOPIC, a_log, a_projector, contents, plainly, three_generations
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

WRITTEN: Final = (*TABLES[:-1], "jobs")


@asynccontextmanager
async def stopped_at(pool: Pool, table: str) -> AsyncIterator[None]:
    """Whoever writes to `table` waits meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


async def stopped_while_it_waits(
    pool: Pool, table: str, projector: Projector, records: list[FakeRecord]
) -> "asyncio.Task[ProjectedBatch]":
    """The batch, once it waits to write to the table."""
    running = asyncio.create_task(projector.project(0, records))
    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
    await eventually(lambda: pool.fetchval(waiting, table))
    return running


async def killed(pool: Pool, table: str, projector: Projector, records: list[FakeRecord]) -> None:
    """The connection of the batch ends while it waits to write to the table."""
    async with stopped_at(pool, table):
        running = await stopped_while_it_waits(pool, table, projector, records)
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table
        )
        with pytest.raises(TransientError):
            await running


@pytest.mark.parametrize("table", WRITTEN)
async def test_a_connection_killed_before_the_commit_leaves_nothing(
    database: Settings, emptied: Pool, table: str
) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        await shaken.project(0, records[:2])
        before = await contents(emptied)
        await killed(emptied, table, shaken, records[2:])
        assert await contents(emptied) == before
        assert (await shaken.project(0, records[2:])).next_offset == len(records)
    assert await contents(emptied) == expected


async def test_another_owner_came_while_the_outcome_was_unknown(database: Settings, emptied: Pool) -> None:
    records = three_generations()
    async with opened_pool(database) as its_own:
        old = await a_projector(its_own)
        await killed(emptied, "timeline", old, records)
        await a_projector(emptied)
        with pytest.raises(FencedError):
            await old.project(0, records)
    assert await emptied.fetchval("SELECT count(*) FROM timeline") == 0


async def test_a_cancelled_batch_leaves_nothing_and_may_be_made_again(database: Settings, emptied: Pool) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        async with stopped_at(emptied, "timeline"):
            running = await stopped_while_it_waits(emptied, "timeline", shaken, records)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await shaken.project(0, records)
    assert await contents(emptied) == expected


async def test_a_batch_that_fails_parks_nobody(database: Settings, emptied: Pool) -> None:
    """Else the records would be dead when they come again."""
    history = wide_history(0)
    records = a_log(history[:2])
    records.append(FakeRecord(2, records[0].timestamp, records[0].key, b"{nonsense"))
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        await killed(emptied, "timeline", shaken, records)
        batch = await shaken.project(0, records)
    assert [type(entry) for entry in batch.entries] == [Applied, Applied, Dead]


class CuttingProxy:
    """Between a client and PostgreSQL. Armed, it ends both connections at the next message that holds `commit`: before
    the server has heard of it, or when the server has done it and is about to say so."""

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


@pytest.mark.parametrize("made", [True, False], ids=["it was made", "it was not made"])
@pytest.mark.parametrize("generations", [3, 120], ids=["few", "many"])
async def test_a_commit_without_an_answer_counts_once(
    database: Settings, emptied: Pool, generations: int, made: bool
) -> None:
    records = a_log(*(wide_history(number) for number in range(generations)))
    expected = await plainly(emptied, records)
    address = urlsplit(database.database_dsn)
    assert address.port is not None
    proxy = CuttingProxy(address.port, TOPIC.encode(), made=made)
    async with proxy.open() as port:
        through = database.database_dsn.replace(f":{address.port}/", f":{port}/")
        async with opened_pool(database.model_copy(update={"database_url": SecretStr(through)})) as its_own:
            shaken = await a_projector(its_own)
            await shaken.project(0, records[:9])
            proxy.armed = True
            with pytest.raises(TransientError):
                await shaken.project(0, records[9:])
            assert not proxy.armed
            end = len(records)
            assert await emptied.fetchval("SELECT next_offset FROM projection_positions") == (end if made else 9)
            again = await shaken.project(0, records[9:])
            assert (again.next_offset, len(again.entries)) == (end, 0 if made else end - 9)
    assert await contents(emptied) == expected
