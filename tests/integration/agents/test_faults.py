"""The faults of faust 0.15.3 that concern this system, each shown to have no effect here."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from structlog.testing import capture_logs

from agents.app import new_app
from agents.app_runner import run_app
from agents.consumer_thread import REBALANCE_TIMEOUT_MS
from agents.run import run_agents
from agents.transport import BatchConsumer
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.errors import BugError, ConfigurationError, TransientError
from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.projecting.batches import sliced
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import (
    AgentsProcess,
    Stuck,
    commit,
    committed,
    joined,
    left_empty,
    progress,
    projector_app,
    run_projector,
)
from tests.integration.running import DEADLINE_S, a_request, eventually, role_context, running
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

EVENTS = 40


class Failing(Projector):
    """Raises an unexpected error on a batch that it cannot project."""

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        if any(records[-1].offset >= 5 for records in batches.values()):
            raise RuntimeError("a bug in our code")
        return await super().project_all(batches)


class Stuttering(Projector):
    """PostgreSQL is unavailable five times, before and after the commit in turn."""

    failures = 0

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        if self.failures < 5:
            self.failures += 1
            if self.failures % 2:
                await super().project_all(batches)
            raise TransientError("away")
        return await super().project_all(batches)


async def append(event_log: EventLog, number: int = EVENTS) -> None:
    await event_log.append_many([a_request() for _ in range(number)])


async def all_applied(settings: Settings, pool: Pool, number: int = EVENTS) -> bool:
    done = await progress(pool, settings)
    assert done.consistent
    return done.applied == done.next_offset == number


async def test_an_exception_in_the_agent_skips_nothing(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    await append(event_log)
    failing = Failing(pool, settings.events_topic, TIMINGS)
    small = settings.model_copy(update={"projector_batch_max": 3})
    with pytest.raises(RuntimeError, match="a bug in our code"):
        await run_projector(small, failing, asyncio.Event(), tmp_path)
    done = await progress(pool, settings)
    assert done.consistent
    assert done.next_offset < EVENTS
    assert all(offset <= 5 for offset in (await committed(settings)).values())
    async with running(run_agents, settings):
        await eventually(lambda: all_applied(settings, pool))


async def test_a_crashed_process_has_left_its_group(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    """Its partitions do not wait for the end of its session."""
    await append(event_log)
    failing = Failing(pool, settings.events_topic, TIMINGS)
    with pytest.raises(RuntimeError, match="a bug in our code"):
        await run_projector(long_session(settings), failing, asyncio.Event(), tmp_path)
    await left_empty(settings)


async def test_an_unexpected_error_ends_the_process_and_the_next_one_goes_on(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await append(event_log)
    await pool.execute("ALTER TABLE projections.timeline RENAME TO elsewhere")
    async with AgentsProcess(settings) as agents:
        assert await agents.ended() not in {0, None}
    assert (await progress(pool, settings)).next_offset == 0
    await pool.execute("ALTER TABLE projections.elsewhere RENAME TO timeline")
    async with AgentsProcess(settings):
        await eventually(lambda: all_applied(settings, pool))


async def test_a_membership_that_is_refused_ends_the_process(settings: Settings) -> None:
    refused = settings.model_copy(update={"kafka_session_timeout_s": 1})
    with pytest.raises(ConfigurationError, match="KAFKA_SESSION_TIMEOUT_S: the broker does not take 1;"):
        await asyncio.wait_for(run_agents(role_context(refused)), DEADLINE_S)


async def test_what_may_pass_is_tried_again_in_place(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    await append(event_log)
    stop = asyncio.Event()
    run = asyncio.ensure_future(
        run_projector(settings, Stuttering(pool, settings.events_topic, TIMINGS), stop, tmp_path)
    )
    await eventually(lambda: all_applied(settings, pool))
    stop.set()
    await run


async def test_a_commit_never_passes_what_is_in_flight(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    await append(event_log)
    stop, stuck = asyncio.Event(), Stuck(pool, settings.events_topic, TIMINGS)
    run = asyncio.ensure_future(run_projector(settings, stuck, stop, tmp_path))
    await asyncio.wait_for(stuck.entered.wait(), DEADLINE_S)
    await asyncio.sleep(2.5)  # two of faust's commits
    assert set((await committed(settings)).values()) == {0}
    stuck.go_on.set()
    await eventually(lambda: all_applied(settings, pool))

    async def all_committed() -> bool:
        return sum((await committed(settings)).values()) == EVENTS

    await eventually(all_committed)
    stop.set()
    await run


async def test_it_stops_in_time_while_a_batch_hangs(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    await append(event_log)
    stop, stuck = asyncio.Event(), Stuck(pool, settings.events_topic, TIMINGS)
    run = asyncio.ensure_future(
        run_projector(settings.model_copy(update={"shutdown_grace_s": 3}), stuck, stop, tmp_path)
    )
    await asyncio.wait_for(stuck.entered.wait(), DEADLINE_S)
    stop.set()
    await asyncio.wait_for(run, 30)  # the batch would hang forever
    async with running(run_agents, settings):
        await eventually(lambda: all_applied(settings, pool))


async def test_a_process_that_stops_when_its_group_rebalances_leaves_it(
    settings: Settings, pool: Pool, tmp_path: Path
) -> None:
    """faust would call its consumer closed, and not leave: the rebalance would wait for it."""
    stop, projector = asyncio.Event(), Projector(pool, settings.events_topic, TIMINGS)
    app = projector_app(long_session(settings), projector, stop, tmp_path)
    other = AIOKafkaConsumer(settings.events_topic, **connection(settings), group_id=settings.consumer_group)
    joining: list[asyncio.Future[None]] = []

    @app.on_before_shutdown.connect(weak=False)
    async def rebalance(*_: object, **__: object) -> None:
        joining.append(asyncio.ensure_future(other.start()))
        await eventually(partial(_rebalancing, app))

    run = asyncio.ensure_future(run_app(app, stop, grace_s=20))
    await joined(settings)
    await eventually(partial(_rebalanced, app))
    with capture_logs() as logged:
        stop.set()
        await run
    try:
        await eventually(partial(_has_all, other, settings), within_s=REBALANCE_TIMEOUT_MS / 2000)
        assert not [line for line in logged if line["event"] in {"faust_stop_overdue", "faust_stop_failed"}]
    finally:
        await other.stop()
        await asyncio.gather(*joining, return_exceptions=True)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("apache_kafka")
async def test_it_stops_in_time_while_the_broker_is_silent(settings: Settings, pool: Pool, tmp_path: Path) -> None:
    """aiokafka's thread waits for the answer to its goodbye for 40 s; neither the process nor its loop waits for it."""
    server = KafkaServer(tmp_path / "kafka", tmp_path / "kafka.log")
    await server.start()
    try:
        own = settings.model_copy(update={"kafka_bootstrap_servers": server.address, "shutdown_grace_s": 3})
        await ensure_topic(own)
        async with AgentsProcess(own) as agents, EventLog(own) as log:
            await append(log)
            await eventually(lambda: all_applied(own, pool))
            assert server.child.pid is not None
            os.kill(server.child.pid, signal.SIGSTOP)
            agents.send(signal.SIGTERM)
            assert await agents.ended(within_s=20) == ExitCode.OK
            os.kill(server.child.pid, signal.SIGCONT)
    finally:
        await server.stop()


def long_session(settings: Settings) -> Settings:
    """A member that does not leave is missed after all tests."""
    return settings.model_copy(update={"kafka_session_timeout_s": 600})


async def _has_all(consumer: AIOKafkaConsumer, settings: Settings) -> bool:
    return len(consumer.assignment()) == settings.events_partitions


async def _rebalancing(app: faust.App) -> bool:
    return app.rebalancing


async def _rebalanced(app: faust.App) -> bool:
    return not app.rebalancing


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "behind"])
async def test_it_starts_where_postgres_says(settings: Settings, pool: Pool, event_log: EventLog, ahead: bool) -> None:
    await append(event_log)
    if not ahead:
        async with running(run_agents, settings):
            await eventually(lambda: all_applied(settings, pool))
    await commit(settings, dict.fromkeys(range(settings.events_partitions), 8 if ahead else 1))
    await append(event_log)
    async with running(run_agents, settings):
        await eventually(lambda: all_applied(settings, pool, 2 * EVENTS))
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline") == 2 * EVENTS


async def test_a_log_that_was_replaced_is_not_read_in_silence(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await pool.executemany(
        """INSERT INTO projections.checkpoints (projection, topic, partition, start_offset, next_offset, owner_epoch)
        VALUES ('generations', $1, $2, 0, 1000, 1)""",
        [(settings.events_topic, partition) for partition in range(settings.events_partitions)],
    )
    await append(event_log)
    with pytest.raises(BugError, match="expected offset 1000"):
        await asyncio.wait_for(run_agents(role_context(settings)), DEADLINE_S)


AT = TP("log", 0)


def delivered(consumer: Consumer, *, first: int, acked: Sequence[int]) -> Consumer:
    """In the state after delivering four messages of which these were acked."""
    if isinstance(consumer, BatchConsumer):
        consumer._delivered[AT].extend(range(first, first + 5))
    consumer._committed_offset[AT] = first
    consumer._acked[AT] = list(acked)
    consumer._acked_index[AT] = set(acked)
    return consumer


async def test_faust_alone_commits_past_what_is_in_flight_and_ours_does_not(settings: Settings, tmp_path: Path) -> None:
    app = new_app(settings, "unused", tmp_path, partial(sliced, size=10))
    listeners = {"on_partitions_revoked": _nothing, "on_partitions_assigned": _nothing}
    ours = app.transport.create_consumer(app.topics.on_message, **listeners)
    stock = Transport(app.transport.url, app).create_consumer(app.topics.on_message, **listeners)
    assert isinstance(ours, BatchConsumer)
    assert isinstance(stock, Consumer)
    assert delivered(stock, first=100, acked=[101, 102])._new_offset(AT) == 103
    assert delivered(ours, first=100, acked=[101, 102])._new_offset(AT) is None
    ours._acked_index[AT].add(100)
    assert ours._new_offset(AT) == 103
    assert ours._new_offset(AT) is None
    for never_started in (ours, stock):
        never_started._thread.thread_loop.close()


async def _nothing(*_: object) -> None: ...


async def test_what_postgresql_counts_is_not_remembered_as_well(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    """Offsets that are never removed would accumulate for as long as the process keeps its partitions."""
    stop = asyncio.Event()
    app = projector_app(settings, Projector(pool, settings.events_topic, TIMINGS), stop, tmp_path)
    projecting = asyncio.create_task(run_app(app, stop, settings.shutdown_grace_s))
    await append(event_log)
    await eventually(lambda: all_applied(settings, pool))
    assert isinstance(app.consumer, BatchConsumer)
    assert not any(app.consumer._delivered.values())
    stop.set()
    await projecting


@pytest.mark.parametrize(
    ("package", "pinned"), [("faust-streaming", "0.15.3"), ("mode-streaming", "0.7.1"), ("aiokafka", "0.14.0")]
)
def test_the_versions_that_this_was_shown_for(package: str, pinned: str) -> None:
    """Another version may bring other faults, or none: look through agents/ before it is taken."""
    assert version(package) == pinned
