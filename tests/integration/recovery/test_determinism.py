"""The determinism watch finds every row that differs from the events, and raises no false alarm."""

import asyncio
import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from agents.run import run_agents
from gengui_stream.doctor.backlog import evaluate_determinism
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.dead_letters.letters import discard, retry
from gengui_stream.recovery.generations import determinism, drift
from gengui_stream.recovery.generations.comparison import compare
from gengui_stream.recovery.generations.determinism import Checked, DeterminismWatch
from gengui_stream.recovery.generations.random_sample import first_of, random_generation
from gengui_stream.recovery.generations.refold import Refold
from gengui_stream.recovery.generations.stored_rows import StoredRows
from gengui_stream.recovery.verification.report import Report
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_histories, wide_history
from tests.integration.commands import command
from tests.integration.log.logs import remove_before, send_by_key, send_to
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, eventually, running
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


async def check(settings: Settings, pool: Pool, generation_id: UUID) -> Checked:
    async with opened_lookup(settings) as log:
        return await DeterminismWatch(settings, pool, log, random.Random(7)).check(generation_id)


async def projected(settings: Settings, pool: Pool, event_log: EventLog) -> UUID:
    history = wide_history(0, start=datetime.now(UTC))
    await event_log.append_many(history)
    await project_everything(settings, pool)
    return history[0].generation_id


CHANGES = (
    ("UPDATE projections.generation_states SET percent = 12", "percent is 12.0, should be 100.0"),
    ("UPDATE projections.generation_states SET version = version + 1", "version is 11, should be 10"),
    ("UPDATE projections.generation_states SET outputs = '[]'", "outputs is []"),
    ("DELETE FROM projections.generation_states", "generation_states: the row is missing"),
    ("UPDATE projections.generation_requests SET prompt = 'another'", "prompt is 'another'"),
    ("UPDATE projections.timeline SET status = 'failed' WHERE version = 3", "status is 'failed'"),
    ("UPDATE projections.timeline SET payload = payload || ' '  WHERE version = 3", "payload is"),
)


@pytest.mark.parametrize(("change", "found"), CHANGES)
async def test_a_changed_row_is_found(
    settings: Settings, pool: Pool, event_log: EventLog, change: str, found: str
) -> None:
    generation_id = await projected(settings, pool, event_log)
    assert await check(settings, pool, generation_id) == Checked("equal")
    await pool.execute(change)
    with capture_logs() as logs:
        checked = await check(settings, pool, generation_id)
        await check(settings, pool, generation_id)
    assert checked.outcome == "drifted"
    assert found in checked.detail
    assert [line["generation_id"] for line in logs if line["event"] == "projection_drifted"] == [str(generation_id)]
    number, [known] = await drift.drifted(pool, settings.events_topic, 3)
    assert (number, known.generation_id) == (1, generation_id)
    finding = evaluate_determinism(number, [known])
    assert (finding.status, str(generation_id) in finding.detail) == ("fail", True)


async def test_one_that_agrees_again_is_forgotten(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    generation_id = await projected(settings, pool, event_log)
    await pool.execute("UPDATE projections.generation_states SET stage = 'wrong'")
    assert (await check(settings, pool, generation_id)).outcome == "drifted"
    await pool.execute("UPDATE projections.generation_states SET stage = 'sampling'")
    assert (await check(settings, pool, generation_id)).outcome == "equal"
    assert await drift.drifted(pool, settings.events_topic, 3) == (0, [])
    assert evaluate_determinism(0, []).status == "ok"


async def test_one_that_cannot_be_compared_does_not_hold_up_the_others(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three that had drifted: events of the first were removed, the check of the second fails, the third agrees."""
    monkeypatch.setattr(determinism, "KNOWN_DRIFT_SHARE", 1.0)
    pruned, failing, mended = (wide_history(number, start=datetime.now(UTC))[0] for number in range(3))
    await event_log.append_many([pruned, failing, mended])
    await project_everything(settings, pool)
    mark = "UPDATE projections.generation_states SET timeline_pruned_before = now() WHERE generation_id = $1"
    await pool.execute(mark, pruned.generation_id)
    for each in (pruned, failing, mended):
        await drift.record(pool, settings.events_topic, each.generation_id, "stage is 'wrong'")

    def fails(found: Refold, stored: StoredRows) -> Report:
        if stored.generation_id == failing.generation_id:
            raise RuntimeError("a bug in the check")
        return compare(found, stored)

    monkeypatch.setattr(determinism, "compare", fails)
    async with opened_lookup(settings) as log:
        watch = DeterminismWatch(settings, pool, log, random.Random(7))
        assert await watch.check_next() == "left_out"
        with pytest.raises(RuntimeError):
            await watch.check_next()
        assert await watch.check_next() == "equal"
    _, known = await drift.drifted(pool, settings.events_topic, 9)
    assert {each.generation_id for each in known} == {pruned.generation_id, failing.generation_id}


async def test_what_cannot_be_compared_is_left_out(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = await projected(settings, pool, event_log)
    monkeypatch.setattr(determinism, "RECORDS_MAX", 9)
    assert (await check(settings, pool, generation_id)).outcome == "left_out"
    monkeypatch.undo()
    await pool.execute("UPDATE projections.generation_states SET timeline_pruned_before = now()")
    await pool.execute("DELETE FROM projections.timeline WHERE version < 5")
    assert (await check(settings, pool, generation_id)).outcome == "left_out"
    await pool.execute("UPDATE projections.generation_states SET timeline_pruned_before = NULL")
    [row] = await pool.fetch("SELECT partition, min(log_offset) AS first FROM projections.timeline GROUP BY 1")
    await remove_before(settings, {row["partition"]: row["first"] + 1})
    checked = await check(settings, pool, generation_id)
    assert (checked.outcome, "has no record" in checked.detail) == ("left_out", True)


async def test_dead_letters_strays_and_early_events_are_no_drift(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """At every step: open, retried and discarded dead letters, events on a wrong partition, and before the request."""
    now = datetime.now(UTC)
    early, dead, stray = (wide_history(number, start=now) for number in range(3))
    await event_log.append_many([early[1], early[2], *early])
    key = str(dead[0].generation_id).encode()
    await event_log.append_many(dead[:2])
    at = await send_by_key(settings, key, b"{")
    later = await event_log.append_many(dead[2:6])
    behind = await send_by_key(settings, key, b"[")
    await event_log.append_many(dead[6:])
    home = (await event_log.append_many(stray[:4]))[0].partition
    text = stray[4].model_dump_json(exclude_none=True).encode()
    await send_to(settings, (home + 1) % settings.events_partitions, str(stray[0].generation_id).encode(), text)
    await project_everything(settings, pool)
    await project_everything(settings, pool)  # what was forwarded
    ids = {history[0].generation_id for history in (early, dead, stray)}
    assert {(await check(settings, pool, each)).outcome for each in ids} == {"equal"}
    await discard(pool, settings.events_topic, at, TIMINGS, ORDER)
    assert later
    assert {(await check(settings, pool, each)).outcome for each in ids} == {"equal"}
    await discard(pool, settings.events_topic, behind, TIMINGS, ORDER)
    assert {(await check(settings, pool, each)).outcome for each in ids} == {"equal"}
    assert await listed(pool, settings.events_topic, LetterFilter(parked=True), limit=9) == []


async def test_a_retried_dead_letter_is_no_drift(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    refused = a_request(prompt="refused")
    await pool.execute("ALTER TABLE projections.generation_requests ADD CONSTRAINT picky CHECK (prompt <> 'refused')")
    at = await event_log.append(refused)
    await project_everything(settings, pool)
    assert (await check(settings, pool, refused.generation_id)).outcome == "equal"
    await pool.execute("ALTER TABLE projections.generation_requests DROP CONSTRAINT picky")
    assert (await check(settings, pool, refused.generation_id)).outcome == "equal"
    await retry(pool, settings.events_topic, at, TIMINGS, ORDER)
    assert (await check(settings, pool, refused.generation_id)).outcome == "equal"


def checked(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("gengui_generations_checked_total", {"outcome": outcome}) or 0.0


async def test_agents_under_load_raise_no_false_alarm_and_find_a_change(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Hundreds of checks while the same generations are projected; then one row is changed."""
    eager = settings.model_copy(update={"determinism_check_every_s": 0.002})
    metrics = new_metrics()
    events: list[Event] = list(wide_histories(120, start=datetime.now(UTC), active=60))
    async with running(run_agents, eager, metrics):
        for start in range(0, len(events), 20):
            await event_log.append_many(events[start : start + 20])

        async def all_checked() -> bool:
            return checked(metrics, "equal") > 300

        await eventually(all_checked)
        assert [checked(metrics, each) for each in ("drifted", "left_out", "failed")] == [0.0, 0.0, 0.0]
        assert await drift.drifted(pool, settings.events_topic, 3) == (0, [])
        await pool.execute("UPDATE projections.generation_states SET stage = 'wrong'")

        async def found() -> bool:
            return checked(metrics, "drifted") > 0

        await eventually(found)
    shown = (await command(settings, "doctor", "--json")).document
    [finding] = [each for each in shown["findings"] if each["name"] == "projections.determinism"]
    assert finding["status"] == "fail"
    assert "stage is" in finding["detail"]


async def test_a_check_that_fails_does_not_end_the_agents(
    settings: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(watch: DeterminismWatch) -> None:
        raise RuntimeError("a bug in the check")

    monkeypatch.setattr(DeterminismWatch, "check_next", fails)
    metrics = new_metrics()
    async with running(run_agents, settings.model_copy(update={"determinism_check_every_s": 0.01}), metrics):

        async def counted() -> bool:
            return checked(metrics, "failed") > 1

        await eventually(counted)


async def test_none_is_checked_when_the_settings_say_so(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    metrics = new_metrics()
    async with running(run_agents, settings.model_copy(update={"determinism_check_every_s": 0}), metrics):
        await projected_by_agents(pool, event_log)
    assert checked(metrics, "equal") == 0


async def projected_by_agents(pool: Pool, event_log: EventLog) -> None:
    await event_log.append(a_request())

    async def there() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM projections.generation_states"))

    await eventually(there)


async def test_samples_are_of_every_age(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    assert await random_generation(pool, random.Random(7), datetime.now(UTC)) is None
    await asyncio.gather(*(event_log.append(a_request()) for _ in range(20)))
    await project_everything(settings, pool)
    chance, now = random.Random(7), datetime.now(UTC)
    ids = {row["generation_id"] for row in await pool.fetch("SELECT generation_id FROM projections.generation_states")}
    found = {await random_generation(pool, chance, now) for _ in range(300)}
    assert found <= ids
    assert len(found) > 5
    assert all(each.int >= first_of(now) - (3_600_000 << 80) for each in ids)
