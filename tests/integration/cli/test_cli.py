"""Every command as a user runs it, with and without `--json`, on a system with data."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from agents.run import run_live_tables
from gengui_stream.accounts.keys.api_keys import authenticate
from gengui_stream.errors import PermanentError
from gengui_stream.log.changelogs import read_changelog
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.commands import Ran, command
from tests.integration.log.logs import send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.role_process import environment
from tests.integration.running import a_request, eventually, running

pytestmark = pytest.mark.stack

FOUND, USAGE, INTERRUPTED = 1, 2, 130

TIME = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
"""In what people read."""

UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
HOSTILE = "\x1b[31mRED\x1b]0;pwned\x07\nforged line \x9b2J \u202e"
"""A prompt that would colour a terminal, name its window, forge a line, clear it and reorder text."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the log holds: a whole history; a generation behind a letter; and the letter."""

    settings: Settings
    history: Sequence[Event]
    positions: Sequence[Position]
    stuck: UUID
    letter: Position

    async def both(self, *arguments: str) -> tuple[Ran, Ran]:
        """For people, and for programs."""
        runs = (command(self.settings, *arguments), command(self.settings, *arguments, "--json"))
        for_people, for_programs = await asyncio.gather(*runs)
        return for_people, for_programs


@pytest_asyncio.fixture
async def known(settings: Settings, pool: Pool, event_log: EventLog) -> AsyncIterator[Known]:
    history, stuck = wide_history(0, start=datetime.now(UTC)), a_request(prompt=HOSTILE)
    positions = await event_log.append_many(history)
    # An unknown field with a number that JSON does not have, and one of no owner.
    odd = f'{{"type": "of.the.future", "generation_id": "{history[0].generation_id}", "odd": NaN}}'
    await send_by_key(settings, str(history[0].generation_id).encode(), odd.encode())
    letter = await send_by_key(settings, str(stuck.generation_id).encode(), b"\xff\x1b]0;pwned\x07{")
    await event_log.append(stuck)
    await project_everything(settings, pool)
    yield Known(settings, history, positions, stuck.generation_id, letter)


async def test_migrate_again_and_seed(settings: Settings, pool: Pool) -> None:
    plain = await command(settings, "migrate", new_process=True)
    assert plain.code == 0
    assert "none, all were there" in plain.out
    assert f"topic {settings.events_topic}: 4 partitions; bucket {settings.s3_bucket}" in plain.out
    again = await command(settings, "migrate", "--json", "--wait", "5")
    assert again.document == {"applied": [], "partitions": 4, "bucket": settings.s3_bucket}
    key = (await command(settings, "seed", new_process=True)).out.strip()
    seeded = (await command(settings, "seed", "--email", "w@example.com", "--role", "worker", "--json")).document
    assert (seeded["email"], seeded["role"]) == ("w@example.com", "worker")
    for one, role in ((key, "user"), (seeded["key"], "worker")):
        principal = await authenticate(pool, one)
        assert principal is not None
        assert principal.role == role


async def test_events_show(known: Known) -> None:
    plain, programs = await known.both("events", "show", str(known.history[0].generation_id))
    assert (plain.code, programs.code, plain.err, programs.err) == (0, 0, "", "")
    assert [row[0] for row in plain.rows[:10]] == [str(position) for position in known.positions]
    assert "ignored: unknown_type" in plain.out
    history = programs.document["history"]
    assert [entry["position"] for entry in history[:10]] == [str(position) for position in known.positions]
    assert [entry["event"]["id"] for entry in history[:10]] == [str(event.id) for event in known.history]
    assert history[10]["event"]["odd"] is None
    assert [entry["version"] for entry in history[:10]] == list(range(1, 11))
    dead = (await command(known.settings, "events", "show", str(known.stuck), "--json")).document["history"]
    assert [entry["dead"] for entry in dead] == ["not_json", "parked"]


async def test_events_tail(known: Known) -> None:
    plain, programs = await known.both("events", "tail", "--from", "start", "--no-follow")
    assert (plain.code, programs.code) == (0, 0)
    assert len(plain.out.splitlines()) == len(programs.documents) == 13
    assert "(not_json)" in plain.out
    mine = [one for one in programs.documents if one["key"] == str(known.history[0].generation_id)]
    assert [one["position"] for one in mine[:10]] == [str(position) for position in known.positions]
    types = ("--type", "generation.completed", "--type", "thumbnail.created")
    one_of = ("--generation", str(known.history[0].generation_id))
    some = await command(known.settings, "events", "tail", "--from", "start", "--no-follow", "--json", *types, *one_of)
    assert [one["type"] for one in some.documents] == ["generation.completed", "thumbnail.created"]
    late = known.positions[4]
    rest = await command(known.settings, "events", "tail", "--from", str(late), "--no-follow", "--json", *one_of)
    assert [one["position"] for one in rest.documents[:6]] == [str(position) for position in known.positions[4:]]


async def test_no_command_sends_a_strangers_control_characters_to_a_terminal(known: Known) -> None:
    at = str(known.letter)
    for arguments in (
        ("events", "tail", "--from", "start", "--no-follow"),
        ("events", "show", str(known.history[0].generation_id)),
        ("dead-letters", "list"),
        ("dead-letters", "show", at),
        ("dead-letters", "retry", at),
        ("verify",),
    ):
        for ran in await known.both(*arguments):
            assert not UNPRINTABLE.search(ran.out + ran.err), arguments
    tailed = await command(known.settings, "events", "tail", "--from", "start", "--no-follow")
    assert r"\u001b[31mRED\u001b]0;pwned\u0007\nforged line" in tailed.out


async def test_events_tail_follows_until_ctrl_c(settings: Settings, event_log: EventLog) -> None:
    request = a_request()

    async def say() -> None:
        while True:
            await event_log.append(request)
            await asyncio.sleep(0.2)

    saying = asyncio.ensure_future(say())
    ran = await command(settings, "events", "tail", "--json", until=str(request.id), new_process=True)
    saying.cancel()
    assert (ran.code, ran.err) == (INTERRUPTED, "")
    assert ran.documents[0]["event"]["id"] == str(request.id)


async def test_a_reader_that_has_had_enough_is_no_fault(known: Known) -> None:
    shell = f"set -o pipefail; {sys.executable} -m gengui_stream.cli events tail --from start | head -1"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", shell),
        env=environment(known.settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ending = asyncio.ensure_future(process.communicate())

    async def ended() -> bool:
        """A closed pipe is noticed at the next write."""
        await send_by_key(known.settings, b"more", b"{}")
        return ending.done()

    await eventually(ended)
    out, err = await ending
    assert (process.returncode, len(out.splitlines()), err) == (0, 1, b"")


async def test_lag_and_jobs(known: Known, pool: Pool, event_log: EventLog) -> None:
    plain, programs = await known.both("lag")
    assert (plain.code, programs.code) == (0, 0)
    assert "events behind" in plain.out
    assert (programs.document["events"], programs.document["seconds"]) == (0, 0)
    await event_log.append_many([a_request() for _ in range(3)])
    behind = await command(known.settings, "lag", "--json", "--max", "2")
    assert (behind.code, behind.document["events"]) == (FOUND, 3)
    assert behind.document["seconds"] > 0
    for partition in behind.document["partitions"]:
        assert partition["events"] == partition["end"] - partition["next_offset"]
    await project_everything(known.settings, pool)
    plain, programs = await known.both("jobs")
    assert programs.document == {"dispatch": 3, "reconcile": 3}
    assert plain.rows == [["dispatch", "3"], ["reconcile", "3"]]


async def test_costs(known: Known, pool: Pool) -> None:
    """Of a run of 4.2 s that made an image."""
    plain, programs = await known.both("costs")
    assert plain.rows[:1] == [["local", "flux-dev-fp8", "1", "4", "1"]]
    assert "PRICES has no price for 1 of these runs" in plain.out
    assert programs.document["data"][0]["cost"] is None
    priced = known.settings.model_copy(update={"prices": "local/*=0.5/second,local/*=1/image"})
    ran = await command(priced, "costs")
    assert (ran.rows, "no price" in ran.out) == ([["local", "flux-dev-fp8", "1", "4", "1", "3.10"]], False)
    document = (await command(priced, "costs", "--json")).document
    used = {"provider": "local", "model": "flux-dev-fp8", "runs": 1, "images": 1, "run_seconds": 4.2}
    assert document == {"cost": 3.1, "data": [{**used, "cost": 3.1, "unpriced_runs": 0}]}
    later = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    assert (await command(priced, "costs", "--since", later, "--json")).document == {"cost": 0.0, "data": []}
    refused = await command(priced, "costs", "--until", "yesterday")
    assert (refused.code, "is not a day such as 2026-11-01" in refused.err) == (USAGE, True)


async def test_verify(known: Known, pool: Pool) -> None:
    plain, programs = await known.both("verify")
    assert (plain.code, programs.code, plain.err, programs.err) == (0, 0, "", "")
    assert "agreed: 13 events" in plain.out
    assert programs.document["agrees"] is True
    assert programs.document["events"] == 13
    await pool.execute("UPDATE projections.generation_states SET status = 'failed'")
    await pool.execute("DELETE FROM projections.daily_counts")
    plain, programs = await known.both("verify")
    assert (plain.code, programs.code) == (FOUND, FOUND)
    assert "status is 'failed', should be 'completed'" in plain.out
    assert "DISAGREED: 2 differences" in plain.out
    assert programs.document["differences"] == {"generation_states": 1, "daily_counts": 1}


async def test_dead_letters(known: Known) -> None:
    at = str(known.letter)
    plain, programs = await known.both("dead-letters", "list")
    assert [row[:3] for row in plain.rows] == [[at, str(known.stuck), "not_json"]]
    assert [letter["position"] for letter in programs.document] == [at]
    assert programs.document[0]["value"] == "\\xff\x1b]0;pwned\x07{"
    shown, document = await known.both("dead-letters", "show", at)
    assert f"generation_id  {known.stuck}" in shown.out
    assert re.search(rf"^appended_at    {TIME}$", shown.out, re.MULTILINE)
    assert re.search(r"^resolution$", shown.out, re.MULTILINE)
    assert document.document == programs.document[0]
    refused = await command(known.settings, "dead-letters", "retry", at)
    assert (refused.code, refused.out) == (FOUND, "")
    assert f"{at} still cannot be folded: not_json" in refused.err
    refused = await command(known.settings, "dead-letters", "retry", "--all", "--json")
    assert (refused.code, refused.document["resolved"]) == (FOUND, 0)
    assert [stays["position"] for stays in refused.document["stays"]] == [at]
    done = await command(known.settings, "dead-letters", "discard", "--all", "--reason", "not_json", "--json")
    assert done.code == 0
    assert (done.document["resolved"], done.document["applied"], done.document["stays"]) == (1, 1, [])
    rest, everything = await known.both("dead-letters", "list", "--all", "--parked")
    assert [letter["resolution"] for letter in everything.document] == ["discarded", "retried"]
    assert "discarded" in rest.out
    assert (await command(known.settings, "verify")).code == 0


async def test_tables(known: Known) -> None:
    live = known.settings.model_copy(update={"live_tables_group": f"{known.settings.consumer_group}-live"})
    assert [one["rows"] for one in (await command(live, "tables", "list", "--json")).document] == [None, None]

    async def filled() -> bool:
        try:
            return bool(await read_changelog(live, "events_by_type"))
        except PermanentError:
            return False

    async with running(run_live_tables, live):
        await eventually(filled, within_s=40)
    listed = await command(live, "tables", "list")
    assert listed.code == 0
    assert listed.rows[0][:2] == ["in_flight", "1"]
    rows = await command(live, "tables", "tail", "in_flight", "--no-follow", "--json")
    [row] = rows.documents
    assert (row["key"], row["value"]["status"]) == (str(known.stuck), "queued")
    plain = await command(live, "tables", "tail", "events_by_type", "--no-follow")
    assert any(
        re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:00Z [0-3] generation\.completed  1", line)
        for line in plain.out.splitlines()
    )
    [shown] = (await command(live, "tables", "tail", "in_flight", "--no-follow")).out.splitlines()
    assert re.search(rf"  since={TIME}$", shown)


async def test_help_names_every_command(settings: Settings) -> None:
    ran = await command(settings, "--help", new_process=True)
    assert ran.code == 0
    commands = "demo dev api agents worker thumbnails dispatch bridge migrate seed events tables lag verify jobs"
    assert set(f"{commands} dead-letters".split()) <= set(ran.out.replace("│", " ").split())
