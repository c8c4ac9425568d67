"""`gengui-stream rebuild` as a user runs it: in several processes, with a limit, with requests that cannot be met."""

import time

import pytest

from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.commands import command
from tests.integration.log.logs import remove_before
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import contents, lose_everything
from tests.integration.recovery.test_verify import a_good_database, recent

pytestmark = pytest.mark.stack

FINDING, USAGE, CONFIGURATION = 1, 2, 78


async def test_a_lost_database_is_filled_by_two_processes(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await a_good_database(settings, pool, event_log)
    expected = await contents(pool)
    await lose_everything(pool)
    ran = await command(settings, "rebuild", "--all", "--processes", "2", "--json", new_process=True)
    assert (ran.code, ran.document["swapped"]["tries"], ran.document["differs"]) == (0, 1, False)
    assert await contents(pool) == expected | {"jobs": []}


async def test_what_a_process_refuses_is_the_refusal_of_the_command(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await a_good_database(settings, pool, event_log)
    await remove_before(settings, await log_ends(settings)(range(settings.events_partitions)))
    ran = await command(settings, "rebuild", "--all", "--processes", "2", new_process=True)
    assert (ran.code, "the log has no record at offset 0" in ran.err) == (FINDING, True), ran


async def test_the_rate_is_kept_and_the_status_shows_what_there_is(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await event_log.append_many([event for number in range(10) for event in recent(number)])
    await project_everything(settings, pool)
    empty = await command(settings, "rebuild", "status")
    assert (empty.code, empty.out) == (0, "none\n")
    began, events = time.monotonic(), 10 * len(recent(0))
    ran = await command(settings, "rebuild", "--all", "--dry-run", "--max-rate", str(events), "--json")
    assert ran.code == 0
    assert time.monotonic() - began > 0.5
    shown = (await command(settings, "rebuild", "status", "--json")).document
    assert (shown["current"]["phase"], shown["share"], shown["running"], shown["retired"]) == (
        "catching up",
        1.0,
        False,
        None,
    )
    assert "catching up" in (await command(settings, "rebuild", "status")).out
    dropped = await command(settings, "rebuild", "--discard")
    assert (dropped.code, dropped.out) == (0, "dropped: projections_next\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("everything",), "there is no projection 'everything': use one of requests, states"),
        (("dead-letters",), "there is no projection 'dead-letters'"),
        ((), "name one projection, or --all"),
        (("timeline", "--all"), "name one projection, or --all"),
        (("--rollback", "--dry-run"), "--dry-run has no meaning here"),
        (("--discard", "--accept-differences"), "--accept-differences has no meaning here"),
        (("status", "--max-rate", "5"), "--max-rate has no meaning here"),
        (("--all", "--to", "yesterday"), "a time such as"),
        (("--all", "--to", "1:99999999999999999999"), "a time such as"),
        (("--all", "--max-rate", "0"), "--max-rate"),
    ],
)
async def test_a_request_that_makes_no_sense_is_a_fault_of_usage(
    settings: Settings, arguments: tuple[str, ...], words: str
) -> None:
    ran = await command(settings, "rebuild", *arguments)
    assert ran.code == USAGE, ran
    assert words in " ".join(ran.err.replace("│", " ").split()), ran.err


async def test_tables_of_another_release_are_left_alone(settings: Settings, pool: Pool) -> None:
    await pool.execute("INSERT INTO migrations.applied (name, sha256) VALUES ('9999_pre_of_the_future.sql', 'x')")
    ran = await command(settings, "rebuild", "--all")
    assert (ran.code, "of a newer release, with 9999_pre_of_the_future.sql" in ran.err) == (CONFIGURATION, True), ran
    await pool.execute("DELETE FROM migrations.applied WHERE name ~ '^(9999|0010)'")
    ran = await command(settings, "rebuild", "--all")
    assert (ran.code, "run `gengui-stream migrate` first" in ran.err) == (CONFIGURATION, True), ran
