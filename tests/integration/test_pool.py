"""Whatever PostgreSQL does to its connections, what is raised says that it may pass."""

import asyncio
import itertools

import asyncpg
import pytest

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, opened_pool, transient_errors
from gengui_stream.projecting import checkpoints as positions
from gengui_stream.settings import Settings
from tests.integration.running import PATIENCE_S

TERMINATE_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
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


async def test_a_process_that_is_paused_in_a_transaction_locks_nobody_out(settings: Settings, pool: Pool) -> None:
    await positions.claim(pool, settings.events_topic, [0])
    async with opened_pool(settings) as paused, paused.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE projections.checkpoints SET updated_at = now()")
        claims = await asyncio.wait_for(positions.claim(pool, settings.events_topic, [0]), PATIENCE_S)
        assert claims[0].epoch == 2
        with pytest.raises(TransientError), transient_errors():
            await connection.execute("COMMIT")
