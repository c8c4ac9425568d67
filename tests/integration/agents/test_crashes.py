"""A crash of the app ends every wait of its tasks, which outlive it for as long as faust does not stop."""

import asyncio

import asyncpg
import pytest

from agents import run as agents_run
from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.projector import Projector
from gengui_stream.settings import Settings
from tests.integration.following import until
from tests.integration.recovery.test_verify import recent
from tests.integration.running import role_context

pytestmark = pytest.mark.stack

WITHIN_S = 30.0


async def test_a_wait_for_postgresql_ends_with_the_app(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a rebalance: its pool is closed by then, and no retry would ever succeed."""
    waits: list[asyncio.Future[object]] = []

    class WaitingQueues(PartitionQueues):
        def __init__(self, projector: Projector, *arguments: object, **named: object) -> None:
            super().__init__(projector, *arguments, **named)  # type: ignore[arg-type]
            stop = arguments[3]
            assert isinstance(stop, asyncio.Event)
            waits.append(asyncio.ensure_future(retry_transient(never_reached, stop, operation="join the group")))

    monkeypatch.setattr(agents_run, "PartitionQueues", WaitingQueues)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agents_run.run_agents(role_context(settings, stop)))
    claimed = "SELECT count(*) = $1 FROM projections.checkpoints"
    await until(lambda: pool.fetchval(claimed, settings.events_partitions))
    await pool.execute("DROP SCHEMA projections CASCADE")
    await event_log.append_many(recent(1))
    with pytest.raises(asyncpg.UndefinedTableError):
        await asyncio.wait_for(running, WITHIN_S)
    assert not stop.is_set()
    with pytest.raises(ShutdownRequested):
        await asyncio.wait_for(waits[0], WITHIN_S)


async def never_reached() -> None:
    raise TransientError("pool is closed")
