"""Whatever PostgreSQL does to its connections, what is raised says that it may pass."""

import asyncio
import itertools

import asyncpg

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.settings import Settings

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
