"""A rebuild beside a system in use: events are projected, rows are read, and neither notices the swap."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from gengui_stream.errors import PermanentError
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import generation_states, timeline
from gengui_stream.recovery.rebuild.outcome import Outcome
from gengui_stream.recovery.rebuild.shadow.connection import opened_session
from gengui_stream.recovery.rebuild.swap import LOCK_TIMEOUT_MS
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.drills.disasters import BAD_RELEASE
from tests.integration.commands import command
from tests.integration.following import until
from tests.integration.projector.projecting import project_everything, projecting
from tests.integration.recovery.rebuild.rebuilding import DIFFERENT, rebuilt, rolled_back
from tests.integration.recovery.test_verify import recent
from tests.integration.role_process import environment

pytestmark = pytest.mark.stack

REBUILDS = 2

WAITING_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = to_regclass($1))"

COMMITTING = "BEGIN; LOCK TABLE projections.checkpoints IN ROW EXCLUSIVE MODE NOWAIT; COMMIT"
"""As a batch of the agents does, but it fails where that waits."""

WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND relation = 'projections.timeline'::regclass AND mode = 'AccessExclusiveLock'
"""
"""Of the swap alone: other statements of a rebuild wait for locks of their own for moments."""


@asynccontextmanager
async def reading(pool: Pool, event: Event) -> AsyncIterator[None]:
    """Reads one generation again and again by prepared statements; fails with the first read that fails, or that does
    not find it."""

    async def read() -> None:
        while True:
            assert await generation_states.load(pool, [event.generation_id])
            assert await timeline.of_generation(pool, event.generation_id)

    reader = asyncio.ensure_future(read())
    try:
        yield
        assert not reader.done(), reader
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader


async def test_events_and_readers_go_on(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    first = [event for number in range(20) for event in recent(number)]
    await event_log.append_many(first)
    await project_everything(settings, pool)
    enough, appended = asyncio.Event(), 0

    async def append() -> None:
        nonlocal appended
        for number in itertools.count(20):
            for event in recent(number):
                await event_log.append(event)
                appended += 1
            if enough.is_set():
                return

    done: list[Outcome] = []
    async with projecting(settings), reading(pool, first[0]):
        appending = asyncio.ensure_future(append())
        for _ in range(REBUILDS):
            done += [await rebuilt(settings), await rolled_back(settings)]
        enough.set()
        await appending
    assert all(each.swapped is not None and not each.differs for each in done)
    assert all(each.compared for each in done[::2])
    await project_everything(settings, pool)
    report = await verify(settings)
    assert report.agrees, report.samples
    assert report.events == len(first) + appended


async def test_a_table_in_use_is_waited_for_without_holding_others_up(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    async with opened_session(settings) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE projections.timeline IN ACCESS SHARE MODE")
        rebuilding = asyncio.ensure_future(rebuilt(settings))
        for waiting in (True, False, True):  # the lock of a try ends before the next one begins
            while bool(await pool.fetchval(WAITING)) is not waiting:
                await timeline.of_generation(pool, recent(1)[0].generation_id)
        assert not rebuilding.done()
        await transaction.rollback()
        done = await rebuilding
    assert done.swapped is not None
    assert done.swapped.tries > 1


@pytest.mark.parametrize("table", ["projections.timeline", "projections_before.timeline"])
async def test_a_vacuum_is_waited_for_while_everyone_goes_on(
    settings: Settings, pool: Pool, event_log: EventLog, table: str
) -> None:
    """PostgreSQL ends an automatic one that a lock has waited for a second: no try of 300 ms gets that far."""
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    assert (await rebuilt(settings)).swapped is not None
    async with opened_session(settings) as vacuum, reading(pool, recent(1)[0]), projecting(settings):
        transaction = vacuum.transaction()
        await transaction.start()
        await vacuum.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
        rebuilding = asyncio.ensure_future(rebuilt(settings))
        await until(lambda: pool.fetchval(WAITING_FOR, table))
        waits_until = time.monotonic() + 2 * LOCK_TIMEOUT_MS / 1000
        while time.monotonic() < waits_until:
            await pool.execute(COMMITTING)
            await asyncio.sleep(0.01)
        assert await pool.fetchval(WAITING_FOR, table)
        await transaction.rollback()
        done = await rebuilding
    assert done.swapped is not None
    assert done.swapped.tries == 1


async def changed_meanwhile(settings: Settings, pool: Pool, statements: Sequence[str]) -> Outcome:
    """A rebuild that finds the timeline in use until these statements are done."""
    async with opened_session(settings) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE projections.timeline IN ACCESS SHARE MODE")
        rebuilding = asyncio.ensure_future(rebuilt(settings))
        while not await pool.fetchval(WAITING):
            await asyncio.sleep(0.01)
        for statement in statements:
            await other.execute(statement)
        await transaction.commit()
        return await rebuilding


async def test_a_migration_meanwhile_refuses_the_swap(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    with pytest.raises(PermanentError, match="a migration has changed timeline"):
        await changed_meanwhile(settings, pool, ["ALTER TABLE projections.timeline ADD COLUMN added int"])
    assert (await verify(settings)).agrees
    done = await rebuilt(settings)
    assert not done.resumed
    assert done.swapped is not None


async def test_another_release_rebuilds_beside_the_agents_of_this_one(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Its fold is another one: it refuses every event. The agents go on with the rows that it swapped in, and this
    release's own rebuild brings its rows back."""
    await event_log.append_many([event for number in range(10) for event in recent(number)])
    await project_everything(settings, pool)
    states = "SELECT generation_id, version, status FROM projections.generation_states"
    before = {tuple(row) for row in await pool.fetch(states)}
    other = environment(settings) | {"PYTHONPATH": str(BAD_RELEASE), "DRILL_FOLD": "refuse"}
    async with projecting(settings):
        ran = await command(other, "rebuild", "--all", "--accept-differences", "--json", new_process=True)
        assert (ran.code, ran.document["swapped"] is not None) == (0, True), ran
        assert await pool.fetchval("SELECT count(*) FROM projections.generation_states") == 0
        later = recent(20)
        await event_log.append_many(later)
        await until(lambda: generation_states.load(pool, [later[0].generation_id]))
        assert (await rebuilt(settings, DIFFERENT)).swapped is not None
    await project_everything(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM projections.dead_letters WHERE resolution IS NULL") == 0
    report = await verify(settings)
    assert report.agrees, report.samples
    assert before < {tuple(row) for row in await pool.fetch(states)}
