"""Migrations: each is applied once, by one process at a time, and never changes afterwards."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
import pytest_asyncio

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.postgres import migrations
from gengui_stream.postgres.migrations import Migration, migrate, shipped_migrations
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


async def test_one_that_fails_leaves_nothing_of_itself(empty: str) -> None:
    """The last schema to be made is in the way."""
    await query(empty, "CREATE SCHEMA accounts")
    with pytest.raises(asyncpg.DuplicateSchemaError):
        await migrate(empty)
    made = "SELECT nspname FROM pg_namespace WHERE nspname IN ('projections', 'jobs')"
    assert await query(empty, made) == []
    await query(empty, "DROP SCHEMA accounts")
    assert len(await migrate(empty)) == len(shipped_migrations())


RELEASES = [
    Migration("0001_pre_a.sql", "CREATE TABLE a (x int)"),
    Migration("0002_pre_b.sql", "ALTER TABLE a ADD y int"),
    Migration("0003_post_c.sql", "ALTER TABLE a DROP x"),
    Migration("0004_pre_d.sql", "ALTER TABLE a ADD z int"),
]


async def test_a_rolling_upgrade_applies_what_the_old_version_bears_and_then_the_rest(empty: str) -> None:
    first, second = RELEASES[:3], RELEASES
    assert await migrate(empty, "pre", first) == ["0001_pre_a.sql", "0002_pre_b.sql"]
    assert await migrate(empty, "pre", first) == []
    assert await migrate(empty, "post", first) == ["0003_post_c.sql"]
    assert await migrate(empty, "pre", second) == ["0004_pre_d.sql"]


async def test_a_release_that_was_left_out_is_named(empty: str) -> None:
    with pytest.raises(ConfigurationError, match=r"0004_pre_d\.sql must follow 0003_post_c\.sql"):
        await migrate(empty, "pre", RELEASES)
    with pytest.raises(ConfigurationError, match=r"0003_post_c\.sql must follow 0001_pre_a\.sql"):
        await migrate(empty, "post", RELEASES)
    assert await migrate(empty, "all", RELEASES) == [migration.name for migration in RELEASES]


async def test_a_locked_table_is_not_waited_for_for_long(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a waiting ALTER TABLE every reader of the table waits as well."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    await migrate(empty, "all", RELEASES[:1])
    reader = await asyncpg.connect(empty)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM a")
        with pytest.raises(TransientError, match=r"0002_pre_b\.sql: a table that it changes was locked"):
            await migrate(empty, "all", RELEASES[:2])
    await reader.close()
    assert await migrate(empty, "all", RELEASES[:2]) == ["0002_pre_b.sql"]


async def test_without_a_server_it_may_work_later() -> None:
    with pytest.raises(TransientError, match="PostgreSQL"):
        await migrate("postgresql://gengui@127.0.0.1:1/gengui")


def test_no_two_have_the_same_number() -> None:
    """Two branches may each add one: the order in which they are applied must not depend on their subjects."""
    numbers = [migration.name.split("_")[0] for migration in shipped_migrations()]
    assert len(set(numbers)) == len(numbers)


def test_each_says_when_it_is_to_run() -> None:
    for migration in shipped_migrations():
        number, when, *_ = migration.name.split("_")
        assert number.isdigit()
        assert when in {"pre", "backfill", "post"}
        assert len(migration.statements) == 1 or when != "backfill"


async def test_an_index_is_built_while_rows_are_written_and_after_a_build_that_failed(empty: str) -> None:
    """The first build finds a duplicate, as an interrupted one does, and leaves an invalid index behind."""
    build = (
        "DROP INDEX CONCURRENTLY IF EXISTS a_by_x;  \nCREATE UNIQUE INDEX CONCURRENTLY a_by_x ON a (x);\n"
        "COMMENT ON INDEX a_by_x IS 'x;y'"
    )
    shipped = [RELEASES[0], Migration("0002_pre_index.sql", build)]
    await migrate(empty, "all", shipped[:1])
    await query(empty, "INSERT INTO a VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await migrate(empty, "all", shipped)
    assert [
        row["indisvalid"] for row in await query(empty, "SELECT indisvalid FROM pg_index WHERE indrelid='a'::regclass")
    ] == [False]
    await query(empty, "DELETE FROM a")
    at_once = await asyncio.gather(*(migrate(empty, "all", shipped) for _ in range(3)))
    assert sorted(map(len, at_once)) == [0, 0, 1]
    assert await query(empty, "SELECT FROM pg_index WHERE indrelid = 'a'::regclass AND indisvalid")
