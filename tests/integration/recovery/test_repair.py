"""A repaired generation equals the fold of its events, whatever its rows held, and its owner goes on with it."""

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest

from gengui_stream.domain.identifiers import uuid7
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.log import reader
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.lookup.records import LogLookup, opened_lookup
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import Projector
from gengui_stream.recovery.audit import acts
from gengui_stream.recovery.generations import drift
from gengui_stream.recovery.generations.repair import Repaired, repair
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.commands import command
from tests.integration.log.logs import everything, remove_before
from tests.integration.projector.projecting import project_everything
from tests.integration.recovery.test_determinism import CHANGES
from tests.integration.running import state_of
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


async def repaired(settings: Settings, pool: Pool, generation_id: UUID, **options: bool) -> Repaired:
    async with opened_lookup(settings) as log:
        return await repair(
            settings,
            pool,
            log,
            generation_id,
            ORDER,
            dry_run=options.get("dry_run", False),
            scanned=options.get("scanned", False),
        )


async def histories(settings: Settings, pool: Pool, event_log: EventLog, number: int = 3) -> list[list[Event]]:
    found = [wide_history(each, start=datetime.now(UTC)) for each in range(number)]
    await event_log.append_many([event for step in zip(*found, strict=True) for event in step])
    await project_everything(settings, pool)
    return found


async def rows(pool: Pool) -> list[object]:
    tables = ("generation_states", "generation_requests", "timeline")
    return [sorted(map(str, await pool.fetch(f"SELECT to_jsonb(t) FROM projections.{name} t"))) for name in tables]


CORRUPTIONS = (
    *(change for change, _ in CHANGES if "version + 1" not in change),
    "DELETE FROM projections.generation_requests",
    "UPDATE projections.generation_states SET partition = (partition + 1) % 4",
    "UPDATE projections.timeline SET ignored = 'duplicate', version = NULL",
)


@pytest.mark.parametrize("change", CORRUPTIONS)
async def test_the_rows_are_those_of_the_log_again(
    settings: Settings, pool: Pool, event_log: EventLog, change: str
) -> None:
    found = await histories(settings, pool, event_log)
    before, generation_id = await rows(pool), found[1][0].generation_id
    only = f"generation_id = '{generation_id}'"
    await pool.execute(f"{change} {'AND' if 'WHERE' in change else 'WHERE'} {only}")
    broken = await rows(pool)
    dry = await repaired(settings, pool, generation_id, dry_run=True)
    assert not dry.differences.agrees
    assert await rows(pool) == broken
    done = await repaired(settings, pool, generation_id)
    assert (done.records, done.differences.counts) == (10, dry.differences.counts)
    assert await rows(pool) == before
    report = await verify(settings)
    assert report.agrees, report.samples
    [act] = await acts(pool, action="repair", limit=9)
    assert (act.operator, act.subject, act.reason) == ("a test", str(generation_id), "tested")
    again = await repaired(settings, pool, generation_id)
    assert again.differences.agrees
    assert len(await acts(pool, action="repair", limit=9)) == 1, "nothing differed, so nothing was done"


async def test_the_owner_loads_its_states_again(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """It holds a wrong state in its cache, and folds the next event on the repaired one."""
    history = wide_history(0, start=datetime.now(UTC))
    positions = await event_log.append_many(history[:5])
    partition = positions[0].partition
    owner = Projector(pool, settings.events_topic, TIMINGS)
    await owner.claim([partition], {partition: 0})
    await owner.project(partition, await everything(settings))
    [held] = owner._partitions[partition].states.values()
    owner._partitions[partition].states[held.generation_id] = held._replace(stage="wrong", version=77)
    await pool.execute("UPDATE projections.generation_states SET stage = 'wrong'")
    await repaired(settings, pool, held.generation_id)
    await event_log.append_many(history[5:])
    await owner.project(partition, [each for each in await everything(settings) if each.offset >= 5])
    state = await state_of(pool, held.generation_id)
    assert state is not None
    assert (state.version, state.stage) == (10, "sampling")
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_a_scan_finds_what_the_timeline_lacks(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    found = await histories(settings, pool, event_log)
    before, generation_id = await rows(pool), found[1][0].generation_id
    await pool.execute("DELETE FROM projections.timeline WHERE generation_id = $1 AND version > 7", generation_id)
    with pytest.raises(PermanentError, match="seems to lack events"):
        await repaired(settings, pool, generation_id)
    done = await repaired(settings, pool, generation_id, scanned=True)
    assert (done.records, len(done.found)) == (10, 3)
    assert await rows(pool) == before


@pytest.mark.parametrize("kept", ["timeline", "generation_states", "nothing"])
async def test_a_generation_without_rows_is_found_by_a_scan(
    settings: Settings, pool: Pool, event_log: EventLog, kept: str
) -> None:
    found = await histories(settings, pool, event_log)
    before, generation_id = await rows(pool), found[1][0].generation_id
    for table in ("timeline", "generation_states", "generation_requests"):
        if table != kept:
            await pool.execute(f"DELETE FROM projections.{table} WHERE generation_id = $1", generation_id)
    if kept != "timeline":
        with pytest.raises(PermanentError, match="--scan"):
            await repaired(settings, pool, generation_id)
    await repaired(settings, pool, generation_id, scanned=True)
    assert await rows(pool) == before


async def test_a_scan_that_finds_no_request_deletes_no_state(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """The clock that made the id was ahead of the log, and the timeline lacks the first events: the scan begins behind
    the request."""
    ahead = uuid7(int((time.time() + 3_600) * 1000), bytes(10))
    history = [each.model_copy(update={"generation_id": ahead}) for each in wide_history(0, start=datetime.now(UTC))]
    await event_log.append_many(history)
    await project_everything(settings, pool)
    await pool.execute("DELETE FROM projections.timeline WHERE version < 3")
    before = await rows(pool)
    with pytest.raises(PermanentError, match="found no request"):
        await repaired(settings, pool, ahead, scanned=True)
    assert await rows(pool) == before


async def test_a_scan_ends_when_the_broker_sends_nothing(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an event more, and does not send it."""
    [history] = await histories(settings, pool, event_log, 1)
    ends = LogLookup.ends

    async def more(log: LogLookup) -> dict[int, int]:
        return {partition: end + 1 for partition, end in (await ends(log)).items()}

    monkeypatch.setattr(LogLookup, "ends", more)
    monkeypatch.setattr(reader, "SENT_WITHIN_S", 1.0)
    await pool.execute("UPDATE projections.checkpoints SET next_offset = next_offset + 1")
    with pytest.raises(TransientError, match="the broker sent nothing"):
        async with asyncio.timeout(20):
            await repaired(settings, pool, history[0].generation_id, scanned=True)


async def test_pruned_rows_stay_removed(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    found = await histories(settings, pool, event_log)
    generation_id = found[1][0].generation_id
    await pool.execute("UPDATE projections.timeline SET appended_at = appended_at - interval '1 day' WHERE version < 5")
    await pool.execute("DELETE FROM projections.timeline WHERE version < 5")
    await pool.execute("UPDATE projections.generation_states SET timeline_pruned_before = now() + interval '1 hour'")
    before = await rows(pool)
    await pool.execute("UPDATE projections.generation_states SET stage = 'wrong'")
    with pytest.raises(PermanentError, match="were removed from the timeline: --scan"):
        await repaired(settings, pool, generation_id)
    for history in found:
        await repaired(settings, pool, history[0].generation_id, scanned=True)
    assert await rows(pool) == before


async def test_a_log_that_lost_events_repairs_nothing(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    [history] = await histories(settings, pool, event_log, 1)
    generation_id = history[0].generation_id
    await pool.execute("UPDATE projections.generation_states SET stage = 'wrong'")
    before, [partition] = (
        await rows(pool),
        {row[0] for row in await pool.fetch("SELECT partition FROM projections.timeline")},
    )
    await remove_before(settings, {partition: 3})
    with pytest.raises(PermanentError, match="the log has no record at"):
        await repaired(settings, pool, generation_id)
    assert await rows(pool) == before


async def test_the_command_compares_repairs_and_refuses(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    found = await histories(settings, pool, event_log)
    generation_id = found[1][0].generation_id
    await drift.record(pool, settings.events_topic, generation_id, "stage is 'wrong'")
    await pool.execute(
        "UPDATE projections.generation_states SET stage = 'wrong' WHERE generation_id = $1", generation_id
    )
    dry = await command(settings, "repair", str(generation_id), "--dry-run")
    assert (dry.code, "DISAGREES" in dry.out, "stage is 'wrong'" in dry.out) == (1, True, True)
    done = await command(settings, "repair", str(generation_id), "--json", "--reason", "drift")
    assert (done.code, done.document["repaired"], done.document["records"]) == (0, True, 10)
    assert await drift.drifted(pool, settings.events_topic, 3) == (0, [])
    assert "agrees" in (await command(settings, "repair", str(generation_id), "--dry-run")).out
    unknown = await command(settings, "repair", str(new_id()), "--scan")
    assert (unknown.code, "neither the projections nor the log" in unknown.err) == (1, True)
    assert (await command(settings, "repair", "42")).code == 2
