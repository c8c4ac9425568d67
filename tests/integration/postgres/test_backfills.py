"""Backfills: a migration in batches, which is interrupted and goes on, while other processes write to the table."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.postgres import migrations
from gengui_stream.postgres.migrations import Migration, migrate
from tests.databases import connected, new_database
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

ROWS = 20_000
BATCH = 500

TABLE = Migration(
    "0001_pre_wide.sql",
    f"CREATE TABLE wide (id int PRIMARY KEY, old int, writes int DEFAULT 0);"
    f"INSERT INTO wide SELECT n, n FROM generate_series(1, {ROWS}) n;"
    "ALTER TABLE wide ADD new int",
)
BACKFILL = Migration(
    "0002_backfill_new.sql",
    f"""
    UPDATE wide SET new = old * 2
    WHERE id IN (SELECT id FROM wide WHERE new IS NULL AND old IS NOT NULL ORDER BY id LIMIT {BATCH});
    """,
)
CONTRACT = Migration("0003_post_old.sql", "ALTER TABLE wide DROP old")
SHIPPED = [TABLE, BACKFILL, CONTRACT]
LEFT = "SELECT count(*) FROM wide WHERE new IS NULL"
WRONG = "SELECT count(*) FROM wide WHERE new IS DISTINCT FROM id * 2"

PROGRAM = f"""
import asyncio
from gengui_stream.postgres.migrations import Migration, migrate
shipped = [Migration(*found) for found in {[(one.name, one.sql) for one in SHIPPED]!r}]
asyncio.run(migrate({{url!r}}, "backfill", shipped, lambda name, rows: print(name, rows, flush=True)))
"""


@pytest_asyncio.fixture
async def expanded(stack: Mapping[str, str]) -> AsyncIterator[str]:
    """The URL of a database with the table after its `pre` phase."""
    async with new_database(stack, template="template1") as url:
        assert await migrate(url, "pre", SHIPPED) == [TABLE.name]
        yield url


async def value(url: str, statement: str) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval(statement))


@asynccontextmanager
async def writers(url: str) -> AsyncIterator[list[int]]:
    """They update rows all over the table, in transactions of a few rows in any order; yields the numbers of each."""
    written, stop = [0, 0], asyncio.Event()

    async def write(number: int) -> None:
        async with connected(url) as connection:
            while not stop.is_set():
                ids = [(written[number] * 7919 + step * 104_729 * (1 - 2 * number)) % ROWS + 1 for step in range(5)]
                try:
                    async with connection.transaction():
                        for one in ids:
                            await connection.execute("UPDATE wide SET writes = writes + 1 WHERE id = $1", one)
                except asyncpg.DeadlockDetectedError:
                    continue
                written[number] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(write(number))
        try:
            yield written
        finally:
            stop.set()


async def test_the_phases_of_a_release_move_the_rows_between_expand_and_contract(expanded: str) -> None:
    with pytest.raises(ConfigurationError, match=r"0003_post_old\.sql must follow 0002_backfill_new\.sql"):
        await migrate(expanded, "post", SHIPPED)
    seen: list[tuple[str, int]] = []
    assert await migrate(expanded, "backfill", SHIPPED, lambda name, rows: seen.append((name, rows))) == [BACKFILL.name]
    assert seen == [(BACKFILL.name, rows) for rows in range(BATCH, ROWS + 1, BATCH)]
    assert await migrate(expanded, "post", SHIPPED) == [CONTRACT.name]
    assert await value(expanded, WRONG) == 0


async def test_one_that_is_killed_goes_on_with_the_rows_that_are_left(expanded: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM.format(url=expanded)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(ROWS // BATCH // 4):
        assert (await process.stdout.readline()).startswith(BACKFILL.name.encode())
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    left = await value(expanded, LEFT)
    assert 0 < left < ROWS
    assert left % BATCH == 0
    seen: list[int] = []
    assert await migrate(expanded, "all", SHIPPED, lambda _, rows: seen.append(rows)) == [BACKFILL.name, CONTRACT.name]
    assert seen[-1] <= left, "a batch that was committed is not repeated"
    assert await value(expanded, WRONG) == 0


async def test_writers_go_on_while_it_runs(expanded: str) -> None:
    async with writers(expanded) as written:

        async def both_have() -> bool:
            return min(written) > 0

        await eventually(both_have)
        before = sum(written)
        await migrate(expanded, "backfill", SHIPPED)
        assert sum(written) > before
    assert await value(expanded, WRONG) == 0
    assert await value(expanded, "SELECT sum(writes) FROM wide") == 5 * sum(written)


async def test_a_row_that_stays_locked_ends_it_and_it_goes_on_later(
    expanded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "20ms")
    async with connected(expanded) as holder, holder.transaction():
        await holder.execute("SELECT FROM wide WHERE id = $1 FOR UPDATE", ROWS // 2)
        with pytest.raises(TransientError, match=r"0002_backfill_new\.sql: 10 tries of a batch failed"):
            await migrate(expanded, "backfill", SHIPPED)
    assert 0 < await value(expanded, LEFT) < ROWS
    assert await migrate(expanded, "backfill", SHIPPED) == [BACKFILL.name]
    assert await value(expanded, WRONG) == 0
