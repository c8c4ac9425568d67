"""Every failure of a connection to PostgreSQL is a transient error."""

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import asyncpg
import pytest
import uvloop
from pydantic import SecretStr

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, open_pool, opened_pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.redis_io import clients as redis_clients
from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S, eventually

TERMINATE_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)"
ROUNDS = 60


async def test_sessions_that_end_in_the_middle_are_passing_errors(settings: Settings, pool: Pool) -> None:
    """asyncpg has a name of its own for an end between parse and execute: InternalClientError."""
    over, numbers = asyncio.Event(), itertools.count()
    failures = 0

    async def ask() -> None:
        nonlocal failures
        while not over.is_set():
            try:
                with transient_errors():  # a new statement each time: parsed, then executed
                    await pool.execute(f"SELECT $1::int + {next(numbers)}", 1)
            except TransientError:
                failures += 1

    killer = await asyncpg.connect(settings.database_dsn)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(ask())
            for _ in range(ROUNDS):
                await killer.execute(TERMINATE_ALL)
                await asyncio.sleep(0.01)
            over.set()
    finally:
        await killer.close()
    assert failures >= ROUNDS / 2


async def test_a_connection_used_twice_at_once_is_a_bug(pool: Pool) -> None:
    """A retry would repeat it forever."""
    async with pool.acquire() as connection:
        first = asyncio.create_task(connection.fetchval("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress"), transient_errors():
            await connection.fetchval("SELECT 1")
        await first


async def test_a_process_that_is_paused_in_a_transaction_holds_no_locks(settings: Settings, pool: Pool) -> None:
    await checkpoints.claim(pool, settings.events_topic, [0])
    async with opened_pool(settings) as paused, paused.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE projections.checkpoints SET updated_at = now()")
        claims = await asyncio.wait_for(checkpoints.claim(pool, settings.events_topic, [0]), DEADLINE_S)
        assert claims[0].epoch == 2
        with pytest.raises(TransientError), transient_errors():
            await connection.execute("COMMIT")


async def test_a_process_opens_as_many_connections_as_the_setting_says(settings: Settings) -> None:
    async with opened_pool(settings.model_copy(update={"db_pool_max": 2})) as pool:
        sessions = await asyncio.gather(
            *(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.1)") for _ in range(6))
        )
    assert len(set(sessions)) == 2


async def test_idle_connections_but_one_are_closed_after_the_time_of_the_setting(
    settings: Settings, pool: Pool
) -> None:
    async with opened_pool(settings.model_copy(update={"db_idle_timeout": 0.1})) as idle:
        sessions = await asyncio.gather(
            *(idle.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.1)") for _ in range(3))
        )
        assert len(set(sessions)) == 3

        async def one_is_left() -> bool:
            return bool(await pool.fetchval(COUNT, sessions) == 1)

        await eventually(one_is_left)


async def test_a_server_that_is_silent_is_given_up_after_the_time_of_the_setting(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = SecretStr(f"postgresql://gengui@127.0.0.1:{silent.getsockname()[1]}/x")
        impatient = settings.model_copy(update={"database_url": url, "db_connect_timeout": 0.1})
        async with asyncio.timeout(settings.db_connect_timeout):
            with pytest.raises(TransientError):
                await open_pool(impatient)


@pytest.mark.parametrize("guarded", [transient_errors, redis_clients.transient_errors])
def test_a_write_to_a_connection_that_uvloop_has_closed_is_a_passing_error(
    guarded: Callable[[], AbstractContextManager[None]],
) -> None:
    """The error is uvloop's own; any other RuntimeError passes unchanged."""

    async def write() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await asyncio.wait_for(writer.wait_closed(), DEADLINE_S)
            with pytest.raises(TransientError), guarded():
                writer.transport.write(b"x")
            with pytest.raises(RuntimeError, match="another"), guarded():
                raise RuntimeError("another")

    uvloop.run(write())
