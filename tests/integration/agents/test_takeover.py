"""Several agents processes share the partitions; when one ends in any way, another takes its partitions over."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import GenerationProgressed, GenerationRequested
from tests.integration.agents.agents_runs import AgentsProcess, progress
from tests.integration.running import a_request, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

PROGRESS = 4
LEAD = 2_000
"""How far the load may be ahead: without a bound, a slow machine would never catch up."""


def history() -> list[GenerationRequested | GenerationProgressed]:
    request = a_request()
    common = request.model_dump(include={"id", "generation_id", "attempt", "occurred_at", "producer"})
    return [request, *(GenerationProgressed(**common, percent=10.0 * step) for step in range(1, PROGRESS + 1))]


@asynccontextmanager
async def load(settings: Settings, pool: Pool, event_log: EventLog) -> AsyncIterator[list[int]]:
    """Histories appended meanwhile, as long as they are projected; how many events."""
    appended = [0]
    ending = asyncio.Event()

    async def append() -> None:
        while not ending.is_set():
            await asyncio.sleep(0.02)
            if appended[0] - (await progress(pool, settings)).next_offset > LEAD:
                continue
            events = [event for _ in range(40) for event in history()]
            await event_log.append_many(events)
            appended[0] += len(events)

    task = asyncio.ensure_future(append())
    try:
        yield appended
    finally:
        ending.set()
        await task


async def settled(settings: Settings, pool: Pool, appended: int) -> None:
    """Everything was applied, once: no event is missing, none counted twice."""

    async def caught_up() -> bool:
        done = await progress(pool, settings)
        assert done.consistent
        return done.next_offset == appended

    await eventually(caught_up, within_s=90)
    done = await progress(pool, settings)
    assert (done.applied, done.ignored, done.dead_lettered) == (appended, 0, 0)
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline") == appended
    rows = await pool.fetch("SELECT version, percent, count(*) FROM projections.generation_states GROUP BY 1, 2")
    assert [(row[0], row[1]) for row in rows] == [(1 + PROGRESS, 10.0 * PROGRESS)]
    assert await pool.fetchval("SELECT sum(requested) FROM projections.daily_counts") == appended / (1 + PROGRESS)
    jobs = "SELECT count(*) = $1 FROM jobs.jobs WHERE kind = 'reconcile'"
    await eventually(lambda: pool.fetchval(jobs, appended // (1 + PROGRESS)))


async def beyond(settings: Settings, pool: Pool, offset: int) -> None:
    async def further() -> bool:
        return (await progress(pool, settings)).next_offset > offset

    await eventually(further, within_s=90)


async def owners_changed(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT coalesce(sum(owner_epoch), 0) FROM projections.checkpoints"))


async def test_two_processes_share_and_one_is_killed(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with AgentsProcess(settings) as first, load(settings, pool, event_log) as appended:
        await beyond(settings, pool, 0)
        epochs = await owners_changed(pool)
        async with AgentsProcess(settings) as second:

            async def shared() -> bool:
                return await owners_changed(pool) > epochs

            await eventually(shared, within_s=90)
            await beyond(settings, pool, appended[0])
            first.send(signal.SIGKILL)
            await first.ended()
            await beyond(settings, pool, appended[0])
            await asyncio.sleep(1)
            second.send(signal.SIGTERM)
            assert await second.ended() == 0
        async with AgentsProcess(settings) as third:
            await beyond(settings, pool, appended[0])
            await third.stopped()
    async with AgentsProcess(settings):
        await settled(settings, pool, appended[0])


async def test_a_process_that_wakes_up_too_late_changes_nothing(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with AgentsProcess(settings) as zombie, load(settings, pool, event_log) as appended:
        await beyond(settings, pool, 0)
        zombie.send(signal.SIGSTOP)
        async with AgentsProcess(settings) as heir:
            await beyond(settings, pool, appended[0])
            zombie.send(signal.SIGCONT)
            await beyond(settings, pool, appended[0] + 500)
            await asyncio.gather(zombie.stopped(), heir.stopped())
    async with AgentsProcess(settings):
        await settled(settings, pool, appended[0])


async def claims(pool: Pool) -> dict[int, int]:
    """How often each partition was claimed."""
    rows = await pool.fetch("SELECT partition, owner_epoch FROM projections.checkpoints")
    return {row["partition"]: row["owner_epoch"] for row in rows}


async def shared(settings: Settings, pool: Pool) -> dict[int, int]:
    """Until a second process has claimed its part: the claims then. The first one claimed all before, and its own part
    again."""

    async def each_claimed_again() -> bool:
        found = await claims(pool)
        return len(found) == settings.events_partitions and min(found.values()) >= 2

    await eventually(each_claimed_again, within_s=90)
    return await claims(pool)


async def all_projected(settings: Settings, pool: Pool, number: int) -> bool:
    return (await progress(pool, settings)).next_offset == number


TAKEOVER_MAX_S = 10
STALL_S = 5


async def test_a_killed_process_is_replaced_within_ten_seconds(
    settings: Settings, pool: Pool, event_log: EventLog, record_property: Callable[[str, object], None]
) -> None:
    """With the default settings; counted from SIGKILL until events of every partition are in PostgreSQL again."""
    async with AgentsProcess(settings) as first:
        await eventually(lambda: claims(pool))
        async with AgentsProcess(settings):
            before = await shared(settings, pool)
            first.send(signal.SIGKILL)
            killed = time.monotonic()
            await event_log.append_many([a_request() for _ in range(100)])
            await eventually(lambda: all_projected(settings, pool, 100))
            took = time.monotonic() - killed
            assert all(number > before[partition] for partition, number in (await claims(pool)).items())
    record_property("takeover_s", round(took, 2))
    assert took < TAKEOVER_MAX_S


async def test_a_stall_of_five_seconds_is_no_rebalance(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """With the default settings: every partition stays with its owner."""
    async with AgentsProcess(settings) as first:
        await eventually(lambda: claims(pool))
        async with AgentsProcess(settings) as second:
            before = await shared(settings, pool)
            first.send(signal.SIGSTOP)
            await asyncio.sleep(STALL_S)
            first.send(signal.SIGCONT)
            await event_log.append_many([a_request() for _ in range(100)])
            await eventually(lambda: all_projected(settings, pool, 100))
            await asyncio.sleep(settings.kafka_session_timeout_s)  # a rebalance would have begun by then
            await event_log.append_many([a_request() for _ in range(100)])
            await eventually(lambda: all_projected(settings, pool, 200))
            assert await claims(pool) == before
            for process in (first, second):
                assert process.alive
