"""How an agents process ends: at a stop, at an error, and when its group refuses it."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from structlog.testing import capture_logs

from agents.app_runner import run_app
from agents.consumer_thread import REBALANCE_TIMEOUT_MS
from agents.run import run_agents
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.errors import ConfigurationError
from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.projecting.projector import Projector
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import (
    AgentsProcess,
    Stuck,
    joined,
    left_empty,
    progress,
    projector_app,
    run_projector,
)
from tests.integration.agents.failing_projector import Failing, all_applied, append
from tests.integration.running import DEADLINE_S, eventually, role_context, running
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


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
