"""`rebuild --rollback`: the rows of before, whatever was wrong with them, caught up and swapped back in."""

import pytest

from gengui_stream.errors import PermanentError
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.audit import acts
from gengui_stream.recovery.dead_letters import letters
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.rebuild import rebuild as rebuild_module
from gengui_stream.recovery.rebuild.rebuild import discard, roll_back
from gengui_stream.settings import Settings
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import contents
from tests.integration.recovery.rebuild.rebuilding import DIFFERENT, Unwatched, rebuilt, rolled_back
from tests.integration.recovery.test_verify import a_good_database, recent
from tests.orders import ORDER

pytestmark = pytest.mark.stack

OLDER_FOLD = "UPDATE projections.generation_states SET provider_model = 'as an older fold had it'"
PRUNED = (
    "UPDATE projections.generation_states SET timeline_pruned_before = now()",
    "DELETE FROM projections.timeline",
)


async def test_the_old_rows_come_back_and_catch_up(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    await pool.execute("UPDATE projections.daily_counts SET failed = failed + 100")
    await rebuilt(settings, DIFFERENT)
    assert await pool.fetchval("SELECT max(failed) FROM projections.daily_counts") < 100
    await event_log.append_many(recent(20))
    await project_everything(settings, pool)
    expected = await contents(pool)
    assert (await rolled_back(settings)).swapped is not None
    assert await pool.fetchval("SELECT max(failed) FROM projections.daily_counts") >= 100
    await pool.execute("UPDATE projections.daily_counts SET failed = failed - 100 WHERE failed >= 100")
    assert await contents(pool) == expected
    await rolled_back(settings)
    assert await contents(pool) == expected, "and forth"
    assert [act.action for act in await acts(pool, action=None, limit=9)] == [
        "rebuild --rollback",
        "rebuild --rollback",
        "rebuild",
    ]
    assert await discard(settings, ORDER) == ["projections_before"]
    with pytest.raises(PermanentError, match="nothing to roll back"):
        await rolled_back(settings)


@pytest.mark.parametrize("changes", [(OLDER_FOLD,), PRUNED], ids=["of an older fold", "pruned by retention"])
async def test_rows_that_this_fold_does_not_give_come_back(
    settings: Settings, pool: Pool, event_log: EventLog, changes: tuple[str, ...]
) -> None:
    await event_log.append_many([event for number in range(5) for event in recent(number)])
    await project_everything(settings, pool)
    for change in changes:
        await pool.execute(change)
    before = await contents(pool)
    await rebuilt(settings, DIFFERENT)
    assert await contents(pool) != before
    assert (await rolled_back(settings)).swapped is not None
    assert await contents(pool) == before


class KilledError(Exception):
    """In the place of a SIGKILL."""


async def test_an_interrupted_one_is_no_unfinished_rebuild(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    await pool.execute(OLDER_FOLD)
    before = await contents(pool)
    await rebuilt(settings, DIFFERENT)

    async def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as dying:
        dying.setattr(rebuild_module, "swap", killed)
        with pytest.raises(KilledError):
            await rolled_back(settings)
    with pytest.raises(PermanentError, match="a rollback is unfinished"):
        await rebuilt(settings, DIFFERENT)
    assert (await rolled_back(settings)).swapped is not None
    assert await contents(pool) == before


async def test_decisions_since_the_swap_are_not_forgotten_by_accident(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await a_good_database(settings, pool, event_log)
    await rebuilt(settings)
    [letter, *_] = await listed(pool, settings.events_topic, LetterFilter(), limit=9)
    await letters.discard(pool, settings.events_topic, letter.position, job_timings(settings), ORDER)
    decided = await contents(pool)
    with pytest.raises(PermanentError, match="have changed since the swap"):
        await rolled_back(settings)
    assert await contents(pool) == decided
    assert (await roll_back(settings, ORDER, Unwatched(), forget_decisions=True)).swapped is not None
