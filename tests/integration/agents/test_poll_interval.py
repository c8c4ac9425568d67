"""An agents process without progress for KAFKA_MAX_POLL_INTERVAL_S leaves its consumer group, and joins it again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from agents.run import run_agents
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import (
    AgentsProcess,
    Stuck,
    group,
    joined,
    left_empty,
    progress,
    run_projector,
)
from tests.integration.running import a_request, eventually, running
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

EVENTS = 40


@pytest.fixture(name="impatient")
def with_a_short_interval(settings: Settings) -> Settings:
    return settings.model_copy(update={"kafka_max_poll_interval_s": 2})


async def append(event_log: EventLog) -> None:
    await event_log.append_many([a_request() for _ in range(EVENTS)])


async def all_applied(settings: Settings, pool: Pool, number: int) -> bool:
    done = await progress(pool, settings)
    assert done.consistent
    return done.applied == done.next_offset == number


async def test_a_process_that_hangs_is_replaced_and_comes_back(
    settings: Settings, impatient: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    await append(event_log)
    stop, hanging = asyncio.Event(), Stuck(pool, settings.events_topic, TIMINGS)
    run = asyncio.ensure_future(run_projector(impatient, hanging, stop, tmp_path))
    await asyncio.wait_for(hanging.entered.wait(), 60)
    async with AgentsProcess(settings):
        await eventually(lambda: all_applied(settings, pool, EVENTS))
        await joined(settings, 1)
        hanging.go_on.set()
        await joined(settings, 2)
        await append(event_log)
        await eventually(lambda: all_applied(settings, pool, 2 * EVENTS))
    assert not run.done()
    await append(event_log)  # the other one is gone: it is this one's turn
    await eventually(lambda: all_applied(settings, pool, 3 * EVENTS))
    stop.set()
    await run


@asynccontextmanager
async def locked(settings: Settings, table: str) -> AsyncIterator[None]:
    """Statements on the table hang meanwhile."""
    connection = await asyncpg.connect(settings.database_dsn)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("table", ["projections.timeline", "projections.checkpoints"])
async def test_it_leaves_while_a_statement_hangs_and_joins_again(
    impatient: Settings, pool: Pool, event_log: EventLog, table: str
) -> None:
    """A transaction hangs, or a claim."""
    async with running(run_agents, impatient):
        if table == "projections.timeline":
            await joined(impatient)
        async with locked(impatient, table):
            await append(event_log)
            if table != "projections.timeline":
                await joined(impatient)
            await left_empty(impatient)
            await asyncio.sleep(1)
            assert await group(impatient) == ("Empty", 0), "it cannot work yet"
        await eventually(lambda: all_applied(impatient, pool, EVENTS))
        await joined(impatient)
        await append(event_log)
        await eventually(lambda: all_applied(impatient, pool, 2 * EVENTS))


@contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def postgres_pids(directory: Path) -> list[int]:
    """The postmaster's, and those of its children."""
    postmaster = int((directory / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return [postmaster, *map(int, children.split())]


async def test_it_goes_on_after_postgresql_was_silent(impatient: Settings, pool: Pool, event_log: EventLog) -> None:
    async with running(run_agents, impatient):
        await append(event_log)
        await eventually(lambda: all_applied(impatient, pool, EVENTS))
        with paused(postgres_pids(Path(await pool.fetchval("SHOW data_directory")))):
            await append(event_log)
            await left_empty(impatient)
        await eventually(lambda: all_applied(impatient, pool, 2 * EVENTS))
        await joined(impatient)


async def test_a_process_without_partitions_does_not_leave(impatient: Settings, pool: Pool) -> None:
    """It makes no progress either; each time that it left, the other one would have to claim its partition again."""
    changes = {"events_topic": f"{impatient.events_topic}-one", "events_partitions": 1}
    narrow = impatient.model_copy(update=changes)
    await ensure_topic(narrow)
    claims = "SELECT owner_epoch FROM projections.checkpoints"
    async with running(run_agents, narrow), running(run_agents, narrow):
        await joined(narrow, 2)
        await asyncio.sleep(impatient.kafka_max_poll_interval_s)  # until the last claim of the beginning is over
        before = await pool.fetchval(claims)
        await asyncio.sleep(3 * impatient.kafka_max_poll_interval_s)
        assert await group(narrow) == ("Stable", 2)
        assert await pool.fetchval(claims) == before
