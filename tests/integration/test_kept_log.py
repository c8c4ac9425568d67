"""The embedded broker's log in the object store: what a kill leaves of it, and what a reader sees meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from agents.run import run_agents, run_live_tables
from agents.running import run_app
from agents.transport import BatchConsumer
from gengui_stream.dev.log_bucket import LogBucket, fill_holes
from gengui_stream.errors import BugError, PermanentError, TransientError
from gengui_stream.log.changelogs import TABLES, changelog_topic, read_changelog
from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import open_reader
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections.projector import Projector
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.integration.agents_runs import progress, projector_app
from tests.integration.kept_logs import Batches, KeptLog, kept_log
from tests.integration.logs import everything
from tests.integration.running import PATIENCE_S, a_request, eventually, role_context, running


@pytest_asyncio.fixture
async def log(stack: Mapping[str, str], settings: Settings, tmp_path: Path) -> AsyncIterator[KeptLog]:
    async with kept_log(stack, settings, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def events(log: KeptLog) -> AsyncIterator[EventLog]:
    async with EventLog(log.settings) as started:
        yield started


async def appended(events: EventLog, *wanted: Event) -> list[Position]:
    """One batch each."""
    return [await events.append(event) for event in wanted]


def of_one_generation(number: int) -> list[Event]:
    """So all are in one partition. The fold ignores all but one: they are requests."""
    request = a_request()
    return [request.model_copy(update={"id": a_request().id}) for _ in range(number)]


async def holds(log: KeptLog, pool: Pool, *, hole: int, end: int) -> None:
    """Every offset is there, the hole is an empty record, and the agents come to the end."""
    records = await everything(log.settings)
    assert [record.offset for record in records] == list(range(end))
    assert [record.offset for record in records if record.value is None] == [hole]
    async with running(run_agents, log.settings):
        await eventually(lambda: _at(log, pool, end))
    letter = await pool.fetchrow("SELECT log_offset, reason FROM dead_letters")
    assert letter is not None
    assert (letter["log_offset"], letter["reason"]) == (hole, "empty")
    report = await verify(log.settings)
    assert report.agrees, report


async def _at(log: KeptLog, pool: Pool, end: int) -> bool:
    done = await progress(pool, log.settings)
    assert done.consistent
    return done.next_offset == end


async def test_a_broker_killed_before_it_wrote_leaves_a_hole_and_its_next_start_fills_it(
    log: KeptLog, events: EventLog, pool: Pool
) -> None:
    first, second, third, last = of_one_generation(4)
    await appended(events, first, second)
    killed = asyncio.Event()

    def kill() -> None:
        assert log.broker.child.pid
        os.kill(log.broker.child.pid, signal.SIGKILL)
        killed.set()

    log.gate.at_the_next_batch(kill)
    appending = asyncio.ensure_future(events.append(third))
    await asyncio.wait_for(killed.wait(), PATIENCE_S)
    await log.broker.child.ended()
    await log.broker.start()
    with pytest.raises(TransientError):
        await appending
    assert [at.offset for at in await appended(events, third, last)] == [3, 4]
    await holds(log, pool, hole=2, end=5)


async def test_a_store_that_is_away_leaves_a_hole_that_can_be_filled_while_the_broker_runs(
    log: KeptLog, events: EventLog, pool: Pool
) -> None:
    first, second, third, last = of_one_generation(4)
    await appended(events, first, second)
    shutting: list[asyncio.Future[None]] = []
    log.gate.at_the_next_batch(lambda: shutting.append(asyncio.ensure_future(log.gate.shut())))
    appending = asyncio.ensure_future(events.append(third))
    await asyncio.wait({appending})
    await asyncio.gather(*shutting)
    assert isinstance(appending.exception(), TransientError)
    await log.gate.reopen()
    assert [at.offset for at in await appended(events, third, last)] == [3, 4]
    await log.stack.mend_log()
    await holds(log, pool, hole=2, end=5)


async def test_live_tables_come_back_from_changelogs_that_had_holes(log: KeptLog, events: EventLog) -> None:
    """Their recovery waits for the changelog's end, and so does whoever reads it."""
    settings = log.settings.model_copy(update={"live_tables_group": f"{log.settings.consumer_group}-live"})
    before, after = a_request(), a_request()

    async def in_flight(request: Event) -> bool:
        try:
            return str(request.generation_id) in await read_changelog(settings, "in_flight")
        except PermanentError:  # not made yet
            return False

    await events.append(before)
    async with running(run_live_tables, settings):
        await eventually(partial(in_flight, before))
    for table in TABLES:
        await leave_holes(settings, changelog_topic(settings, table), log.store)
    await log.stack.mend_log()
    assert await in_flight(before)
    assert len(await read_changelog(settings, "events_by_type")) == 1
    await events.append(after)
    async with running(run_live_tables, settings):
        await eventually(partial(in_flight, after))


async def leave_holes(settings: Settings, topic: str, store: Mapping[str, str]) -> None:
    """At the end of every partition."""
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        with closing(Batches(store, topic)) as batches:
            for partition in range(settings.events_partitions):
                sent = await producer.send_and_wait(topic, b"nothing", key=b'"lost"', partition=partition)
                batches.take(Position(partition, sent.offset))
    finally:
        await producer.stop()


async def test_a_broker_that_starts_before_its_store_waits_for_it(log: KeptLog, events: EventLog) -> None:
    """Just started, SeaweedFS answers, but cannot read yet: all of `make dev` was given up for that."""
    await appended(events, *of_one_generation(2))
    await log.broker.stop()
    await log.gate.shut()
    starting = asyncio.ensure_future(log.broker.start())
    done, _ = await asyncio.wait({starting}, timeout=2)
    assert not done
    await log.gate.reopen()
    await starting
    assert len(await everything(log.settings)) == 2


async def test_where_there_is_a_record_nothing_is_filled(log: KeptLog, events: EventLog) -> None:
    """Batches of one and of several, and one that was under way when it was looked for."""
    first, *others = of_one_generation(5)
    [at] = await appended(events, first)
    await events.append_many(others)
    before = await everything(log.settings)
    filled = await fill_holes(log.store)  # the bucket is one for all tests
    assert not [hole for hole in filled if hole.folder == log.batches.place(at).folder]
    with LogBucket(log.store) as bucket:
        assert not bucket.fill(log.batches.place(at))
    assert await everything(log.settings) == before


async def test_a_reader_waits_for_what_is_not_written_yet(log: KeptLog, events: EventLog) -> None:
    positions = await appended(events, *of_one_generation(4))
    late = positions[1]
    batch = log.batches.take(late)
    async with open_reader(log.settings, {late.partition: 0}, [late.partition]) as reader:
        found = await reader.read()
        assert [record.offset for record in found] == [0]
        log.batches.put(late, batch)
        while not reader.at_end():
            found += await reader.read()
    assert [record.offset for record in found] == [0, 1, 2, 3]


async def test_a_reader_goes_on_behind_what_is_gone(log: KeptLog, events: EventLog) -> None:
    positions = await appended(events, *of_one_generation(4))
    log.batches.take(positions[1])
    async with open_reader(log.settings, {positions[1].partition: 0}, [positions[1].partition]) as reader:
        found = [record.offset async for records in reader.until_end() for record in records]
    assert found == [0, 2, 3]


async def test_agents_wait_for_what_is_not_written_yet(
    log: KeptLog, events: EventLog, pool: Pool, tmp_path: Path
) -> None:
    positions = await appended(events, *of_one_generation(4))
    batch = log.batches.take(positions[1])
    stop = asyncio.Event()
    app = projector_app(log.settings, Projector(pool, log.settings.events_topic), stop, tmp_path)
    run = asyncio.ensure_future(run_app(app, stop, grace_s=20))

    async def met() -> bool:
        consumer = app.consumer if app.started else None
        return isinstance(consumer, BatchConsumer) and bool(consumer._gaps._missing)

    await eventually(met)
    log.batches.put(positions[1], batch)
    await eventually(partial(_at, log, pool, 4))
    stop.set()
    await run


async def test_agents_do_not_go_on_behind_what_is_gone(log: KeptLog, events: EventLog, pool: Pool) -> None:
    positions = await appended(events, *of_one_generation(4))
    log.batches.take(positions[1])
    with pytest.raises(BugError, match="expected offset 1, the log went on at 2"):
        await asyncio.wait_for(run_agents(role_context(log.settings)), PATIENCE_S)
    assert await _at(log, pool, 1)
