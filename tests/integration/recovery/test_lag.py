"""The lag of each partition: events, seconds, what holds them up, and whether it catches up."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections.dead_letters import Held
from gengui_stream.recovery import lag
from gengui_stream.recovery.lag import measure_lag, opened_lag_meter
from gengui_stream.recovery.pauses import pause
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.commands import command
from tests.integration.log.logs import remove_before, send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request
from tests.orders import ORDER

pytestmark = pytest.mark.stack


async def test_events_and_seconds_behind_are_those_of_the_oldest_record(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    began = datetime.now(UTC)
    first = await event_log.append(a_request())
    await project_everything(settings, pool)
    assert [one.events for one in await measure_lag(settings, pool)] == [0] * settings.events_partitions
    history = wide_history(0, start=datetime.now(UTC))
    positions = await event_log.append_many(history)
    found = {one.partition: one for one in await measure_lag(settings, pool)}
    behind = found[positions[0].partition]
    assert (behind.events, behind.end, behind.next_offset) == (10, positions[-1].offset + 1, positions[0].offset)
    assert behind.oldest is not None
    assert began - timedelta(milliseconds=1) <= behind.oldest <= datetime.now(UTC)
    assert 0 <= behind.seconds <= (datetime.now(UTC) - began).total_seconds()
    assert sum(one.events for one in found.values()) == 10
    assert found[first.partition].oldest is None or first.partition == behind.partition


async def test_a_lag_whose_first_records_are_gone_is_measured(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    positions = await event_log.append_many(wide_history(0, start=datetime.now(UTC)))
    await remove_before(settings, {positions[0].partition: positions[4].offset})
    found = {one.partition: one for one in await measure_lag(settings, pool)}
    assert found[positions[0].partition].oldest is not None


async def test_parked_generations_and_pauses_are_shown(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    broken = a_request()
    at = await send_by_key(settings, str(broken.generation_id).encode(), b"{")
    await event_log.append_many([broken, broken.model_copy(update={"id": a_request().id})])
    await project_everything(settings, pool)
    await pause(pool, settings, [at.partition], ORDER)
    found = {one.partition: one for one in await measure_lag(settings, pool)}[at.partition]
    assert found.held == Held(dead=1, parked=2, generations=1)
    assert found.pause is not None
    assert (found.pause.operator, found.pause.reason) == ("a test", "tested")
    assert found.since(found).trend == "paused"


async def test_two_measurements_tell_whether_it_catches_up(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits while nothing is behind; otherwise what happens in between counts."""
    monkeypatch.setattr(lag, "SAMPLE_S", 0.05)
    async with opened_lag_meter(settings, pool) as meter:
        first, last = await meter.measure_twice()
        assert first is last
        positions = await event_log.append_many(wide_history(0, start=datetime.now(UTC)))
        partition = positions[0].partition
        before, after = await meter.measure_twice()
        assert after[partition].since(before[partition]).trend == "standing_still"
        before = await meter.measure()
        await asyncio.gather(project_everything(settings, pool), event_log.append(a_request()))
        progress = (await meter.measure())[partition].since(before[partition])
        assert progress.trend in {"caught_up", "catching_up"}
        assert progress.rate > 0
        assert progress.eta_s is not None


async def test_the_command_prints_and_watches_it(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await event_log.append_many(wide_history(0, start=datetime.now(UTC)))
    found = (await command(settings, "lag", "--json")).document
    assert found["events"] == 10
    [behind] = [each for each in found["partitions"] if each["events"]]
    assert (behind["trend"], behind["rate"], behind["eta_s"], behind["pause"]) == ("standing_still", 0.0, None, None)
    assert (behind["dead_letters"], behind["parked"], behind["parked_generations"]) == (0, 0, 0)
    assert behind["seconds"] >= 0
    assert behind["oldest"]
    plain = await command(settings, "lag")
    assert "standing still" in plain.out
    watched = await command(settings, "lag", "--watch", "--every", "0.1", "--json", until="}\n{")
    assert watched.code == 130
    assert [each["events"] for each in watched.documents[:2]] == [10, 10]
