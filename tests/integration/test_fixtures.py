"""The fixtures themselves."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import administering
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings, load_settings
from tests.databases import LentDatabases, connected, execute
from tests.integration.running import a_request
from tests.topics import LentTopics

pytestmark = pytest.mark.stack


async def test_another_pytest_of_the_same_user_takes_nothing_away(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(tmp_path): pass")
    another = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await another.wait() == 0
    async with opened_pool(settings) as pool:
        await pool.execute("CHECKPOINT")
        assert await pool.fetchval("SELECT count(*) FROM projections.generation_requests") == 0


ROWS = "SELECT (SELECT count(*) FROM accounts.users) + (SELECT count(*) FROM accounts.api_keys)"


async def test_the_next_test_gets_a_database_without_the_rows_of_the_last_one(stack: Mapping[str, str]) -> None:
    databases = LentDatabases(stack)
    async with databases.lent() as first, opened_pool(load_settings({"DATABASE_URL": first}, env_files=())) as pool:
        await seed_user(pool, "user@example.com", "user")
        assert await pool.fetchval(ROWS) == 2
    async with databases.lent() as second, connected(second) as connection:
        assert second == first
        assert await connection.fetchval(ROWS) == 0


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs.jobs ADD CONSTRAINT picky CHECK (kind <> 'thumbnail')",
        "ALTER TABLE jobs.jobs RENAME TO tasks",
        "ALTER TABLE jobs.jobs SET (fillfactor = 10)",
        "ALTER TABLE accounts.users ALTER email SET DEFAULT 'none'",
        "CREATE INDEX another ON jobs.jobs (kind)",
        "CREATE TABLE public.copy AS TABLE jobs.jobs",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT SELECT ON jobs.jobs TO public",
        "DELETE FROM migrations.applied",
    ],
)
async def test_no_test_gets_a_database_in_which_more_than_rows_was_changed(
    stack: Mapping[str, str], change: str
) -> None:
    databases = LentDatabases(stack)
    async with databases.lent() as first:
        await execute(first, change)
    async with databases.lent() as second:
        assert second != first


async def test_no_test_gets_a_database_that_another_still_uses(stack: Mapping[str, str]) -> None:
    databases = LentDatabases(stack, left_within_s=0.1)
    lending = databases.lent()
    first = await lending.__aenter__()
    async with connected(first) as forgotten:
        await lending.__aexit__(None, None, None)
        async with databases.lent() as second:
            assert second != first
        assert forgotten.is_closed()


async def test_the_next_test_gets_a_topic_only_if_nothing_was_written_to_it(stack: Mapping[str, str]) -> None:
    topics = LentTopics(stack)
    async with topics.lent() as first:
        pass
    async with topics.lent() as second, EventLog(load_settings({**stack, "EVENTS_TOPIC": second}, env_files=())) as log:
        assert second == first
        await log.append(a_request())
    async with topics.lent() as third:
        assert third != first


async def test_no_test_gets_a_topic_that_is_gone(stack: Mapping[str, str]) -> None:
    topics = LentTopics(stack)
    async with topics.lent() as first, administering(load_settings(dict(stack), env_files=())) as admin:
        await admin.delete_topics([first])
    async with topics.lent() as second:
        assert second != first
