"""`rebuild`: the same rows again, from the log alone, whatever had become of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Connection, Pool
from gengui_stream.recovery.audit import acts
from gengui_stream.recovery.dead_letters import letters as dead_letters
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.pauses import pause, resume
from gengui_stream.recovery.rebuild.rebuild import LOCK
from gengui_stream.recovery.rebuild.shadow.connection import opened_session
from gengui_stream.recovery.rebuild.shadow.tables import ALL_TABLES, CHECKPOINTS, PROJECTIONS
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import contents, lose_everything
from tests.integration.recovery.rebuild.rebuilding import DIFFERENT, EVERYTHING, rebuilt
from tests.integration.recovery.test_verify import a_good_database, recent
from tests.orders import ORDER

pytestmark = pytest.mark.stack

CATALOG = """
SELECT n.nspname, t.relname, t.reloptions, array_agg(a.attname || ' ' || a.atttypid || ' ' || a.attnotnull || ' ' ||
    coalesce(pg_get_expr(d.adbin, d.adrelid), '') ORDER BY attnum) AS columns,
    (SELECT array_agg(pg_get_indexdef(indexrelid) ORDER BY indexrelid::regclass::text) FROM pg_index
        WHERE indrelid = t.oid) AS indexes,
    (SELECT array_agg(conname || pg_get_constraintdef(oid) ORDER BY conname) FROM pg_constraint
        WHERE conrelid = t.oid) AS rules
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = t.oid
LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
WHERE n.nspname = 'projections' AND t.relkind = 'r' AND attnum > 0 GROUP BY n.nspname, t.oid ORDER BY 2
"""


async def test_every_table_of_the_schema_belongs_to_a_projection(pool: Pool) -> None:
    rows = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'projections'")
    assert {row["tablename"] for row in rows} == {*ALL_TABLES, CHECKPOINTS}


async def test_the_same_rows_are_computed_and_swapped_in(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    expected, catalog = await contents(pool), await pool.fetch(CATALOG)
    done = await rebuilt(settings)
    assert [each.samples for each in done.compared] == [()] * len(ALL_TABLES)
    assert [each.live_rows for each in done.compared] == [each.rebuilt_rows for each in done.compared]
    assert sum(each.live_rows for each in done.compared) > 100
    assert not done.unlike_plain_fold
    assert done.swapped is not None
    assert await contents(pool) == expected
    assert await pool.fetch(CATALOG) == catalog
    assert (await verify(settings)).agrees
    [act] = await acts(pool, action=None, limit=9)
    assert (act.action, act.operator, "timeline" in act.subject) == ("rebuild", ORDER.operator, True)
    await event_log.append_many(recent(20))
    await project_everything(settings, pool)
    assert (await verify(settings)).agrees


DAMAGE = {
    "changed": (
        "UPDATE projections.generation_states SET version = version + 1",
        "UPDATE projections.daily_counts SET completed = completed + 1",
        "UPDATE projections.timeline SET payload = '{}'",
        "UPDATE projections.generation_requests SET prompt = 'x'",
        "UPDATE projections.provider_minutes SET failed = 7",
        "UPDATE projections.provider_latencies SET completions = 0",
        "UPDATE projections.provider_usage SET images = images + 1",
        "UPDATE projections.dead_letters SET record_value = 'x'",
    ),
    "lost": tuple(f"DELETE FROM projections.{table}" for table in ALL_TABLES),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_damaged_tables_are_reported_and_replaced_on_demand(
    settings: Settings, pool: Pool, event_log: EventLog, damage: tuple[str, ...]
) -> None:
    await a_good_database(settings, pool, event_log)
    expected = await contents(pool)
    for statement in damage:
        await pool.execute(statement)
    damaged = await contents(pool)
    refused = await rebuilt(settings)
    assert [each.table for each in refused.compared if not each.agrees] == list(ALL_TABLES)
    assert refused.swapped is None
    assert await contents(pool) == damaged
    done = await rebuilt(settings, DIFFERENT)
    assert done.resumed
    assert done.swapped is not None
    assert await contents(pool) == expected


async def test_decisions_on_dead_letters_stay(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    [blocking] = [
        letter
        for letter in await listed(pool, settings.events_topic, LetterFilter(), limit=9)
        if letter.generation_id is not None
    ]
    await dead_letters.discard(pool, settings.events_topic, blocking.position, job_timings(settings), ORDER)
    expected = await contents(pool)
    done = await rebuilt(settings)
    assert not done.differs
    assert await contents(pool) == expected
    assert (await verify(settings)).agrees


async def test_a_dead_letter_that_can_be_folded_by_now_is_folded(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a release whose fold refused good events."""
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    expected = await contents(pool)
    await lose_everything(pool)
    with monkeypatch.context() as broken:
        broken.setattr("gengui_stream.log.codec.VALUE_MAX_BYTES", 100)
        await project_everything(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM projections.dead_letters") == len(recent(1))
    done = await rebuilt(settings, DIFFERENT)
    assert done.differs
    await project_everything(settings, pool)
    found = await contents(pool)
    letters = await pool.fetch("SELECT DISTINCT resolution FROM projections.dead_letters")
    assert [row["resolution"] for row in letters] == ["retried"]
    assert found | {"projections.dead_letters": []} == expected
    assert (await verify(settings)).agrees


async def test_a_database_without_a_row_is_filled_from_the_log(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await a_good_database(settings, pool, event_log)
    expected = await contents(pool)
    await lose_everything(pool)
    done = await rebuilt(settings)
    assert done.compared == ()
    assert done.swapped is not None
    assert await contents(pool) == expected | {"jobs": []}, "a rebuild makes no job"
    await project_everything(settings, pool)
    assert await contents(pool) == expected


async def test_one_projection_of_a_lost_database_does_not_get_ahead_of_the_others(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """The agents would count the same events twice."""
    await a_good_database(settings, pool, event_log)
    expected = await contents(pool)
    await lose_everything(pool)
    await rebuilt(settings, replace(DIFFERENT, tables=PROJECTIONS["daily-counts"]))
    assert await pool.fetchval("SELECT count(*) FROM projections.daily_counts") == 0
    await project_everything(settings, pool)
    assert await contents(pool) == expected


async def test_one_projection_alone_folds_no_dead_letter(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """Although it could by now: the other projections have not folded it."""
    await event_log.append_many([event for number in range(3) for event in recent(number)])
    await project_everything(settings, pool)
    await lose_everything(pool)
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("gengui_stream.log.codec.VALUE_MAX_BYTES", 600)
        await project_everything(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM projections.dead_letters") > 0
    before = await contents(pool)
    done = await rebuilt(settings, replace(EVERYTHING, tables=PROJECTIONS["timeline"]))
    assert done.swapped is not None
    assert await contents(pool) == before


async def test_a_record_that_is_held_back_by_a_pause_is_not_folded(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Whatever share of the log is projected, and also without a process that owns a partition."""
    await event_log.append_many(recent(1))
    partitions = range(settings.events_partitions)
    await pause(pool, settings, partitions, ORDER)
    await rebuilt(settings)
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline") == 0
    await resume(pool, settings, partitions, ORDER)
    await rebuilt(settings)
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline") == len(recent(1))


async def test_one_projection_alone(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    expected = await contents(pool)
    untouched = await pool.fetchval("SELECT 'projections.timeline'::regclass::oid")
    await pool.execute("UPDATE projections.daily_counts SET completed = completed + 1")
    request = replace(DIFFERENT, tables=PROJECTIONS["daily-counts"])
    done = await rebuilt(settings, request)
    assert [each.table for each in done.compared] == ["daily_counts"]
    assert await contents(pool) == expected
    assert await pool.fetchval("SELECT 'projections.timeline'::regclass::oid") == untouched
    await event_log.append_many(recent(20))
    await project_everything(settings, pool)
    assert (await verify(settings)).agrees


async def test_a_dry_run_changes_nothing_and_is_gone_on_with(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await a_good_database(settings, pool, event_log)
    before = await pool.fetchval("SELECT 'projections.timeline'::regclass::oid")
    assert (await rebuilt(settings, replace(EVERYTHING, dry_run=True))).swapped is None
    assert await pool.fetchval("SELECT 'projections.timeline'::regclass::oid") == before
    done = await rebuilt(settings)
    assert done.resumed
    assert done.events == 0
    assert done.swapped is not None


async def test_up_to_a_position_or_a_moment_nothing_is_swapped(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    history = recent(1)
    positions = await event_log.append_many(history)
    await project_everything(settings, pool)
    done = await rebuilt(settings, replace(EVERYTHING, upto=positions[3]))
    assert done.swapped is None
    [version] = await pool.fetch("SELECT version, log_offset FROM projections_next.generation_states")
    assert version["log_offset"] == positions[3].offset
    yesterday = datetime.now(UTC) - timedelta(days=1)
    await rebuilt(settings, replace(EVERYTHING, upto=yesterday))
    assert await pool.fetchval("SELECT count(*) FROM projections_next.timeline") == 0


async def test_moments_and_positions_that_the_log_does_not_have_are_refused(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await a_good_database(settings, pool, event_log)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for upto, words in ((Position(0, 999_999), "beyond the end"), (Position(99, 0), "beyond"), (tomorrow, "no event")):
        with pytest.raises(PermanentError, match=words):
            await rebuilt(settings, replace(EVERYTHING, upto=upto))
    assert await pool.fetchval("SELECT to_regnamespace('projections_next')") is None


async def test_there_is_one_rebuild_at_a_time(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with opened_session(settings) as other:
        await other.fetchval("SELECT pg_advisory_lock($1)", LOCK)
        with pytest.raises(PermanentError, match="another rebuild is running"):
            await rebuilt(settings)


async def test_decisions_meanwhile_begin_the_rebuild_again(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    await rebuilt(settings, replace(EVERYTHING, dry_run=True))
    await pool.execute("UPDATE projections.checkpoints SET parked_revision = parked_revision + 1")
    done = await rebuilt(settings)
    assert not done.resumed
    assert done.swapped is not None


async def test_a_full_disk_is_reported_and_given_back(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """The server's own error, from a constraint that the rebuilt table copies."""
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    expected = await contents(pool)
    await pool.execute(
        """CREATE FUNCTION public.full_disk(int) RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"""
    )
    await pool.execute(
        "ALTER TABLE projections.provider_minutes ADD CONSTRAINT room CHECK (public.full_disk(partition)) NOT VALID"
    )
    with pytest.raises(TransientError, match="disk is full, and the unfinished rebuild was removed"):
        await rebuilt(settings)
    assert await pool.fetchval("SELECT to_regnamespace('projections_next')") is None
    assert await contents(pool) == expected


async def test_rebuilt_rows_that_no_plain_fold_gives_are_never_swapped_in(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a chunk had been folded twice, or a copy had lost a row."""
    await event_log.append_many(recent(1))
    await project_everything(settings, pool)
    expected = await contents(pool)
    monkeypatch.setattr("gengui_stream.recovery.rebuild.rebuild.analyze", damaged)
    done = await rebuilt(settings, DIFFERENT)
    assert done.unlike_plain_fold == [str(recent(1)[0].generation_id)]
    assert done.swapped is None
    assert await contents(pool) == expected


async def damaged(connection: Connection, tables: Sequence[str]) -> None:
    await connection.execute("DELETE FROM projections_next.timeline WHERE version = 3")
