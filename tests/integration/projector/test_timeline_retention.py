"""The retention of the timeline removes what nothing needs any more, and says that it did."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import timeline_retention
from gengui_stream.projections.timeline_retention import keep_pruning, prune
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import record_of, wide_history
from tests.integration.commands import command
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import a_log, a_projector, contents
from tests.integration.running import eventually

NOW: Final = datetime.now(UTC)
KEPT: Final = timedelta(days=30)
LONG_AGO: Final = NOW - timedelta(days=40)
JUST_ENDED: Final = NOW - timedelta(minutes=1)
"""The last event of a history is some seconds later than its start."""

EVERYTHING: Final = timedelta(0)
FIRST: Final = UUID(int=0)


async def rows_by_generation(pool: Pool) -> Counter[UUID]:
    rows = await pool.fetch("SELECT generation_id, count(*) AS rows FROM projections.timeline GROUP BY 1")
    return Counter({row["generation_id"]: row["rows"] for row in rows})


async def test_only_what_ended_long_ago_is_removed(emptied: Pool) -> None:
    ended, recent = wide_history(0, start=LONG_AGO), wide_history(1, start=NOW)
    open_, without_thumbnail = wide_history(2, start=LONG_AGO)[:5], wide_history(3, start=LONG_AGO)[:-1]
    unrequested = wide_history(4, start=LONG_AGO)[1:]
    kept = (recent, open_, without_thumbnail, unrequested)
    await (await a_projector(emptied)).project(0, a_log(ended, *kept))
    step = await prune(emptied, FIRST, [0], KEPT)
    assert step.rows == len(ended)
    assert await rows_by_generation(emptied) == {each[0].generation_id: len(each) for each in kept}
    assert await prune(emptied, FIRST, [1], EVERYTHING) == (None, 0)
    cut = await emptied.fetch(
        "SELECT generation_id FROM projections.generation_states WHERE timeline_pruned_before IS NOT NULL"
    )
    assert [row["generation_id"] for row in cut] == [ended[0].generation_id]


async def test_a_late_event_is_kept_until_it_is_old_itself(emptied: Pool) -> None:
    history = wide_history(0, start=LONG_AGO)
    late = history[5].model_copy(update={"occurred_at": NOW})
    projector = await a_projector(emptied)
    await projector.project(0, [*a_log(history), record_of(late, len(history))])
    assert (await prune(emptied, FIRST, [0], KEPT)).rows == len(history)
    assert (await prune(emptied, FIRST, [0], KEPT)).rows == 0
    assert (await prune(emptied, FIRST, [0], EVERYTHING)).rows == 1


@pytest.mark.parametrize("early", [0, 3], ids=["in-order", "events-before-the-request"])
async def test_events_appended_again_change_nothing_after_their_timeline_is_removed(emptied: Pool, early: int) -> None:
    history = wide_history(0, start=LONG_AGO)
    mixed: Sequence[Event] = [*history[1 : 1 + early], history[0], *history[1:]]
    await (await a_projector(emptied)).project(0, a_log(mixed))
    expected = await states(emptied)
    assert (await prune(emptied, FIRST, [0], KEPT)).rows == len(mixed)
    again = await a_projector(emptied)  # which has no state in memory
    await again.project(0, a_log(mixed, first=len(mixed)))
    assert await states(emptied) == expected


async def states(pool: Pool) -> object:
    tables = await contents(pool)
    cut = "to_jsonb(s) - 'timeline_pruned_before'"
    rows = await pool.fetch(f"SELECT {cut} FROM projections.generation_states s ORDER BY generation_id")
    return [tuple(row) for row in rows], tables["projections.daily_counts"], tables["jobs"]


async def test_the_background_task_goes_through_all_generations_in_steps(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_retention, "GENERATIONS", 2)
    await (await a_projector(emptied)).project(0, a_log(*(wide_history(n, start=LONG_AGO) for n in range(5))))
    steps: list[int] = []
    pruning = asyncio.ensure_future(keep_pruning(emptied, KEPT, lambda: [0], steps.append))

    async def through() -> bool:
        return len(steps) == 4

    await eventually(through)
    pruning.cancel()
    assert steps == [20, 20, 10, 0]


async def test_verify_and_the_shown_history_say_that_it_is_cut(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    ended, open_ = wide_history(0, start=JUST_ENDED), wide_history(1, start=JUST_ENDED)[:3]
    await event_log.append_many([*ended, *open_])
    await project_everything(settings, pool)
    partitions = range(settings.events_partitions)
    assert (await prune(pool, FIRST, partitions, EVERYTHING)).rows == len(ended)
    report = await verify(settings)
    assert report.agrees, report.samples
    assert report.pruned == len(ended)
    shown = (await command(settings, "events", "show", str(ended[0].generation_id), "--json")).document
    assert (shown["history"], shown["pruned_before"] is None) == ([], False)
    assert "were removed by retention" in (await command(settings, "events", "show", str(ended[0].generation_id))).out
    await pool.execute("DELETE FROM projections.timeline")
    assert (await verify(settings)).counts == {"timeline": len(open_)}


async def test_verify_agrees_while_the_timeline_is_pruned(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_retention, "GENERATIONS", 1)
    monkeypatch.setattr(timeline_retention, "STEP_EVERY_S", 0.0)
    await event_log.append_many([event for number in range(40) for event in wide_history(number, start=JUST_ENDED)])
    await project_everything(settings, pool)
    partitions = range(settings.events_partitions)
    pruning = asyncio.ensure_future(keep_pruning(pool, EVERYTHING, lambda: partitions, lambda rows: None))
    reports = [await verify(settings) for _ in range(3)]
    pruning.cancel()
    assert [report.samples for report in reports if not report.agrees] == []
    assert reports[-1].pruned > 0


async def test_a_partition_is_pruned_soon_after_it_is_live(emptied: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is when the process starts, and others come with each rebalance."""
    monkeypatch.setattr(timeline_retention, "LOOK_EVERY_S", 0.05)
    projector = await a_projector(emptied)
    await projector.project(0, a_log(wide_history(0, start=LONG_AGO)))
    live: list[int] = []
    pruning = asyncio.ensure_future(keep_pruning(emptied, KEPT, lambda: live, lambda _: None))

    async def empty() -> bool:
        return not await rows_by_generation(emptied)

    try:
        await asyncio.sleep(0)  # it has begun
        assert await rows_by_generation(emptied)
        live.append(0)
        await eventually(empty)
    finally:
        pruning.cancel()
        await asyncio.wait({pruning})
