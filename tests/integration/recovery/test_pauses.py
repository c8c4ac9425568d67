"""A paused partition stands still, through restarts, and goes on where it stopped; the others never notice."""

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from agents import lag as agents_lag
from agents.run import run_agents
from api import standstill
from gengui_stream.doctor.backlog import evaluate_lag, evaluate_pauses
from gengui_stream.errors import PermanentError
from gengui_stream.health.liveness import Health
from gengui_stream.log.codec import Decoded
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import checkpoints, projector
from gengui_stream.projecting.folding import FoldState, fold_records
from gengui_stream.projections import partition_owners
from gengui_stream.projections.outcomes import Outcome, Record
from gengui_stream.recovery.audit import Order, acts
from gengui_stream.recovery.lag import measure_lag
from gengui_stream.recovery.pauses import pause, pauses, resume
from gengui_stream.recovery.verify import verify
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.commands import command
from tests.integration.running import DEADLINE_S, a_request, eventually, role_context, running
from tests.orders import ORDER

pytestmark = pytest.mark.stack


async def reached(settings: Settings, pool: Pool, *positions: Position) -> bool:
    done = await checkpoints.projected(pool, settings.events_topic)
    return all(done.get(position.partition, 0) > position.offset for position in positions)


async def one_on_each(settings: Settings, event_log: EventLog) -> dict[int, Position]:
    """The position of the last appended event of each partition."""
    found: dict[int, Position] = {}
    while len(found) < settings.events_partitions:
        position = await event_log.append(a_request())
        found[position.partition] = position
    return found


def gauge(metrics: Metrics, name: str, partition: int) -> float | None:
    return metrics.registry.get_sample_value(name, {"partition": str(partition)})


class Keeping:
    """Runs agents and keeps what they were started with."""

    def __init__(self) -> None:
        self.role: RoleContext | None = None

    async def __call__(self, role: RoleContext) -> None:
        self.role = role
        await run_agents(role)

    @property
    def health(self) -> Health:
        assert self.role is not None
        self.role.health.tick()
        return self.role.health


def partition_document(agents: Keeping, partition: int) -> dict[str, Any]:
    found: Any = agents.health.liveness().readiness_document()
    return dict(found.get("partitions", {}).get(str(partition), {}))


async def test_a_pause_holds_one_partition_and_outlives_the_agents(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_lag, "STANDS_STILL_S", 0.5)
    metrics, agents = new_metrics(), Keeping()
    async with running(agents, settings, metrics):
        first = await one_on_each(settings, event_log)
        await eventually(lambda: reached(settings, pool, *first.values()))
        assert await pause(pool, settings, [2], ORDER) == [2]

        async def is_paused() -> bool:
            return gauge(metrics, "gengui_partition_paused", 2) == 1.0

        await eventually(is_paused)
        assert 2 not in await partition_owners.live(pool), "none of its jobs may be claimed"
        second = await one_on_each(settings, event_log)
        others = [position for partition, position in second.items() if partition != 2]
        await eventually(lambda: reached(settings, pool, *others))

        async def is_shown() -> bool:
            """As a lag that no work will end, and as no fault."""
            shown = partition_document(agents, 2)
            lag = gauge(metrics, "gengui_projection_lag_events", 2)
            catch_up_s = gauge(metrics, "gengui_projection_catch_up_seconds", 2)
            found = (shown.get("trend"), shown.get("eta_s"), bool(lag), catch_up_s)
            return found == ("paused", None, True, math.inf) and agents.health.liveness().ready

        await eventually(is_shown)
        assert not await reached(settings, pool, second[2])
    agents, metrics = Keeping(), new_metrics()
    async with running(agents, settings, metrics):
        third = await one_on_each(settings, event_log)
        others = [position for partition, position in third.items() if partition != 2]
        await eventually(lambda: reached(settings, pool, *others))
        assert (await checkpoints.projected(pool, settings.events_topic))[2] == first[2].offset + 1
        assert await resume(pool, settings, [2], ORDER) == [2]
        await eventually(lambda: reached(settings, pool, *third.values()))

        async def is_live() -> bool:
            return 2 in await partition_owners.live(pool)

        await eventually(is_live)
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_every_partition_can_be_paused_for_longer_than_a_poll_interval(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """The agents stay members of their group, and go on at once."""
    longest = 4  # between two polls, also on a busy machine
    times = {"kafka_max_poll_interval_s": longest, "kafka_heartbeat_interval_s": 0.2}
    short = settings.model_copy(update=times)
    every, metrics = range(settings.events_partitions), new_metrics()
    async with running(run_agents, short, metrics):
        first = await one_on_each(settings, event_log)
        await eventually(lambda: reached(settings, pool, *first.values()))
        epochs = await _epochs(settings, pool)
        await pause(pool, settings, every, ORDER)

        async def all_paused() -> bool:
            return {gauge(metrics, "gengui_partition_paused", partition) for partition in every} == {1.0}

        await eventually(all_paused)
        assert not await partition_owners.live(pool)
        paused_at = datetime.now(UTC)
        second = await one_on_each(settings, event_log)

        async def long_paused() -> bool:
            return (datetime.now(UTC) - paused_at).total_seconds() > longest + 1

        await eventually(long_paused)
        assert not any([await reached(settings, pool, position) for position in second.values()])
        await resume(pool, settings, every, ORDER)
        await eventually(lambda: reached(settings, pool, *second.values()))
        assert await _epochs(settings, pool) == epochs, "no rebalance in between"


async def _epochs(settings: Settings, pool: Pool) -> dict[int, int]:
    rows = await pool.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, settings.events_topic)
    return {row["partition"]: row["owner_epoch"] for row in rows}


async def test_a_pause_under_load_keeps_every_other_partition_going(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """More records than the queues of the paused partition take."""
    small = settings.model_copy(update={"projector_batch_max": 20})
    async with running(run_agents, small):
        await pause(pool, settings, [0], ORDER)
        events: list[Event] = []
        for number in range(100):
            events += wide_history(number, start=datetime.now(UTC))
        positions = await event_log.append_many(events)
        last = {position.partition: position for position in positions}
        await eventually(lambda: reached(settings, pool, *(last[each] for each in last if each)))
        assert not await reached(settings, pool, last[0])
        await resume(pool, settings, [0], ORDER)
        await eventually(lambda: reached(settings, pool, *last.values()))
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_a_record_that_ends_the_agents_is_passed(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pause, so that the other partitions go on; skip the record; resume."""

    def dies(records: Sequence[tuple[Record, Decoded]], known: FoldState) -> list[Outcome]:
        if any(b'"poison"' in (record.value or b"") for record, _ in records):
            raise RuntimeError("the record ends the process")
        return fold_records(records, known)

    monkeypatch.setattr(projector, "fold_records", dies)
    at = await event_log.append(a_request(prompt="poison"))
    with pytest.raises(RuntimeError, match="the record ends the process"):
        async with asyncio.timeout(DEADLINE_S):
            await run_agents(role_context(settings))
    assert (await command(settings, "pause", str(at.partition), "--reason", "poison")).code == 0
    async with running(run_agents, settings):
        later = await one_on_each(settings, event_log)
        others = [position for partition, position in later.items() if partition != at.partition]
        await eventually(lambda: reached(settings, pool, *others))
        assert (await command(settings, "skip", str(at), "--reason", "poison")).code == 0
        assert (await command(settings, "resume", str(at.partition), "--reason", "skipped")).code == 0
        await eventually(lambda: reached(settings, pool, *later.values()))
    assert [act.action for act in await acts(pool, action=None, limit=10)] == ["resume", "skip", "pause"]
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_each_pause_and_resume_is_audited_once(settings: Settings, pool: Pool) -> None:
    assert await pause(pool, settings, [1, 3], ORDER) == [1, 3]
    assert await pause(pool, settings, [1], Order("another", "again")) == []
    assert {each.reason for each in (await pauses(pool, settings.events_topic)).values()} == {"tested"}
    assert await resume(pool, settings, range(4), ORDER) == [1, 3]
    assert await resume(pool, settings, [1], ORDER) == []
    found = await acts(pool, action=None, limit=10)
    assert [(act.action, act.subject) for act in found] == [
        ("resume", "partition 3"),
        ("resume", "partition 1"),
        ("pause", "partition 3"),
        ("pause", "partition 1"),
    ]
    with pytest.raises(PermanentError, match="no partition 4"):
        await pause(pool, settings, [0, 4], ORDER)
    assert await pauses(pool, settings.events_topic) == {}


async def test_it_is_shown_as_paused_and_not_as_stuck(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "STANDS_STILL_S", 0.0)
    at = await event_log.append(a_request())
    await pool.execute(checkpoints.CLAIM, checkpoints.PROJECTION, settings.events_topic, at.partition)
    ran = await command(settings, "pause", str(at.partition), "--reason", "the disk is full", "--json")
    assert ran.document == {"paused": [at.partition], "unchanged": []}
    async with aiohttp.ClientSession() as session, serving(settings, session) as base:
        for _ in range(2):
            _, _, found = await Client(session, base, "none").call("GET", "/readyz")
            assert found["status"] == "degraded"
            assert found["checks"]["projection"] == f"paused by an operator: partitions [{at.partition}]"
    lags = await measure_lag(settings, pool)
    assert evaluate_lag(lags).status == "ok"
    [finding] = evaluate_pauses(lags)
    assert (finding.name, finding.status) == ("projections.paused", "warn")
    assert "the disk is full" in finding.detail
    assert "1 events wait" in finding.detail
    shown = await command(settings, "lag")
    assert "is paused since" in shown.out
    assert "standing still" not in shown.out
    audited = (await command(settings, "audit", "--json")).document
    assert [(each["action"], each["reason"]) for each in audited] == [("pause", "the disk is full")]


async def test_bad_arguments_are_refused(settings: Settings) -> None:
    for arguments in (("pause", "--reason", "x"), ("pause", "1"), ("resume",), ("resume", "1", "--all")):
        assert (await command(settings, *arguments)).code == 2
    ran = await command(settings, "pause", "99", "--reason", "x")
    assert (ran.code, "no partition 99" in ran.err) == (1, True)
