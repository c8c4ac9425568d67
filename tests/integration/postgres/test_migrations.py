"""Migrations: each is applied once, by one process at a time, and never changes afterwards."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
import pytest_asyncio

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.postgres.migrations import migrate, shipped_migrations
from tests.databases import new_database

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture
async def empty(stack: Mapping[str, str]) -> AsyncIterator[str]:
    """The URL of a database in which nothing is yet."""
    async with new_database(stack, template="template1") as url:
        yield url


async def query(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def test_all_apply_in_order_and_then_none(empty: str) -> None:
    names = [migration.name for migration in shipped_migrations()]
    assert names == sorted(names)
    assert await migrate(empty) == names
    assert await migrate(empty) == []
    assert [row["name"] for row in await query(empty, "SELECT name FROM migrations.applied ORDER BY name")] == names


async def test_many_at_once_apply_each_once(empty: str) -> None:
    outcomes = await asyncio.gather(*(migrate(empty) for _ in range(6)))
    assert sorted(map(len, outcomes)) == [0, 0, 0, 0, 0, len(shipped_migrations())]


async def test_a_file_changed_after_it_was_applied_is_refused(empty: str) -> None:
    await migrate(empty)
    await query(empty, "UPDATE migrations.applied SET sha256 = 'other'")
    with pytest.raises(ConfigurationError, match="was changed after it was applied"):
        await migrate(empty)


async def test_one_that_fails_leaves_nothing_of_any(empty: str) -> None:
    """The last schema to be made is in the way."""
    await query(empty, "CREATE SCHEMA accounts")
    with pytest.raises(asyncpg.DuplicateSchemaError):
        await migrate(empty)
    made = "SELECT nspname FROM pg_namespace WHERE nspname IN ('projections', 'jobs', 'migrations')"
    assert await query(empty, made) == []
    await query(empty, "DROP SCHEMA accounts")
    assert len(await migrate(empty)) == len(shipped_migrations())


async def test_without_a_server_it_may_work_later() -> None:
    with pytest.raises(TransientError, match="PostgreSQL"):
        await migrate("postgresql://gengui@127.0.0.1:1/gengui")


def test_each_says_when_it_is_to_run() -> None:
    for migration in shipped_migrations():
        number, when, *_ = migration.name.split("_")
        assert number.isdigit()
        assert when in {"pre", "post"}
