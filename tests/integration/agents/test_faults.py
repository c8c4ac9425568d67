"""The faults of faust 0.15.3 that concern this system, each shown to have no effect here."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP

from agents.app import new_app
from agents.app_runner import run_app
from agents.run import run_agents
from agents.transport import BatchConsumer
from gengui_stream.errors import BugError, TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.batches import sliced
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import (
    Stuck,
    commit,
    committed,
    progress,
    projector_app,
    run_projector,
)
from tests.integration.agents.failing_projector import EVENTS, Failing, all_applied, append
from tests.integration.running import DEADLINE_S, eventually, role_context, running
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


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
