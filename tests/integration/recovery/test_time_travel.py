"""A generation at any moment: what each event changed, and clear refusals of moments that are none."""

from datetime import UTC, datetime, timedelta

import pytest

from gengui_stream.errors import PermanentError
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections.outcomes import appended_at
from gengui_stream.recovery.generations.time_travel import Journey, Moment, changes_of, effect_of, travel, type_of
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.commands import command
from tests.integration.log.logs import send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, state_of

pytestmark = pytest.mark.stack


async def told(settings: Settings, pool: Pool, history: list[Event], at: Moment | None = None) -> Journey:
    async with opened_lookup(settings) as log:
        return await travel(settings, pool, log, history[0].generation_id, at)


async def recorded(settings: Settings, pool: Pool, event_log: EventLog) -> tuple[list[Event], list[Position]]:
    """With a repetition, and one event that comes too late."""
    history = wide_history(0, start=datetime.now(UTC))
    positions = [await event_log.append(event) for event in [*history, history[3], history[2]]]
    await project_everything(settings, pool)
    return history, positions


async def test_each_event_has_its_effect(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history, positions = await recorded(settings, pool, event_log)
    journey = await told(settings, pool, history)
    assert [step.position for step in journey.steps] == positions
    assert [type_of(step) for step in journey.steps[:3]] == [event.type for event in history[:3]]
    assert [effect_of(step) for step in journey.steps] == ["applied"] * 10 + ["ignored: terminal", "ignored: terminal"]
    assert journey.state == await state_of(pool, history[0].generation_id)
    assert changes_of(journey.steps[4])["percent"] == (10.0, 30.0)
    assert changes_of(journey.steps[10]) == {}
    assert changes_of(journey.steps[0])["status"] == (None, "queued")


async def test_a_moment_is_a_position_or_a_time(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history, _ = await recorded(settings, pool, event_log)
    whole = await told(settings, pool, history)
    for number, step in enumerate(whole.steps):
        there = await told(settings, pool, history, step.position)
        assert (len(there.steps), there.later, there.state) == (number + 1, 11 - number, step.after)
    moment = appended_at(whole.steps[4].record)
    then = await told(settings, pool, history, moment)
    assert all(appended_at(step.record) <= moment for step in then.steps)
    assert len(then.steps) + then.later == 12
    assert (await told(settings, pool, history, datetime.now(UTC))).steps == whole.steps


async def test_moments_that_are_none_are_refused(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await event_log.append_many([a_request() for _ in range(30)])
    history, positions = await recorded(settings, pool, event_log)
    home, first, last = positions[0].partition, positions[0].offset, positions[-1].offset
    unprojected = await event_log.append(history[2])
    for at, match in (
        (Position(home, last + 2), "beyond the end of the log"),
        (unprojected, "not projected yet"),
        (Position(home, first - 1), "before the first event"),
        (Position((home + 1) % 4, 0), f"are on partition {home}"),
        (Position(99, 0), "has no partition 99"),
        (datetime.now(UTC) + timedelta(hours=1), "has not come yet"),
        (datetime.now(UTC) - timedelta(hours=1), "before the first event"),
    ):
        with pytest.raises(PermanentError, match=match):
            await told(settings, pool, history, at)
    with pytest.raises(PermanentError, match="nothing is recorded of generation"):
        await told(settings, pool, [a_request()])


async def test_a_timeline_of_foreign_positions_is_refused(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    _, positions = await recorded(settings, pool, event_log)
    other = a_request()
    strange = f"UPDATE projections.timeline SET generation_id = '{other.generation_id}' WHERE log_offset = $1"
    await pool.execute(strange, positions[3].offset)
    with pytest.raises(PermanentError, match="none of the records"):
        await told(settings, pool, [other], datetime.now(UTC))


async def test_the_command_shows_states_and_differences(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history, positions = await recorded(settings, pool, event_log)
    generation_id = str(history[0].generation_id)
    plain = await command(settings, "show", generation_id)
    assert plain.code == 0, plain.err
    for part in (str(positions[0]), "generation.progressed", "ignored: terminal", "completed", "object_key"):
        assert part in plain.out
    diff = await command(settings, "show", generation_id, "--diff", "--at", str(positions[4]))
    assert "percent: 10.0 → 30.0" in diff.out
    assert "7 later events are left out" in diff.out
    found = (await command(settings, "show", generation_id, "--json", "--at", datetime.now(UTC).isoformat())).document
    assert (len(found["steps"]), found["state"]["status"], found["later"]) == (12, "completed", 0)
    assert found["steps"][4]["changes"]["percent"] == [10.0, 30.0]
    assert found["steps"][4]["event"]["percent"] == 30.0
    unknown = await command(settings, "show", str(new_id()))
    assert (unknown.code, "nothing is recorded" in unknown.err) == (1, True)
    assert (await command(settings, "show", generation_id, "--at", "yesterday")).code == 2


async def test_dead_letters_and_parked_events_are_shown(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history = wide_history(0, start=datetime.now(UTC))
    await event_log.append_many(history[:3])
    at = await send_by_key(settings, str(history[0].generation_id).encode(), b"{")
    await event_log.append(history[3])
    await project_everything(settings, pool)
    journey = await told(settings, pool, history)
    assert [effect_of(step) for step in journey.steps[3:]] == ["dead: not_json", "dead: parked"]
    assert [type_of(step) for step in journey.steps[3:]] == ["(not_json)", "generation.progressed"]
    assert (await command(settings, "show", str(history[0].generation_id), "--at", str(at))).code == 0
