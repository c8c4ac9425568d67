"""Dead letters as an operator works through them: found by any filter, tried first, retried, discarded, exported."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.audit import acts
from gengui_stream.recovery.dead_letters import filters
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed, matching
from gengui_stream.recovery.dead_letters.letters import retry
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas import upcasting
from schemas.events import Event, GenerationTimedOut
from tests.events import wide_history
from tests.integration.commands import command
from tests.integration.log.logs import send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, state_of
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

PICKY = """ALTER TABLE projections.timeline ADD CONSTRAINT picky CHECK (payload NOT LIKE '%"percent":10.0%')"""
RELENT = "ALTER TABLE projections.timeline DROP CONSTRAINT picky"


@dataclass(frozen=True)
class Dead:
    """`refused`: of the first two generations, whose progress PostgreSQL refused. `broken`: no JSON, of a third."""

    histories: list[list[Event]]
    refused: list[Position]
    broken: Position


async def given(settings: Settings, pool: Pool, event_log: EventLog) -> Dead:
    await pool.execute(PICKY)
    histories = [wide_history(number, start=datetime.now(UTC)) for number in range(3)]
    positions = [await event_log.append_many(history[:6]) for history in histories[:2]]
    await event_log.append_many(histories[2][:2])
    broken = await send_by_key(settings, str(histories[2][0].generation_id).encode(), b"{\xff")
    await project_everything(settings, pool)
    return Dead(histories, sorted(each[3] for each in positions), broken)


async def found(pool: Pool, settings: Settings, wanted: LetterFilter) -> list[Position]:
    return [letter.position for letter in await listed(pool, settings.events_topic, wanted, limit=100)]


async def test_every_filter_selects(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they are found page by page."""
    monkeypatch.setattr(filters, "PAGE", 1)
    dead = await given(settings, pool, event_log)
    every, now = sorted([*dead.refused, dead.broken]), datetime.now(UTC)
    first = dead.histories[0][0]
    assert first.type == "generation.requested"
    of_first = [
        letter async for letter in matching(pool, settings.events_topic, LetterFilter(generation=first.generation_id))
    ]
    [at] = [letter.position for letter in of_first]
    for wanted, expected in (
        (LetterFilter(), every),
        (LetterFilter(reason="not_json"), [dead.broken]),
        (LetterFilter(reason="empty"), []),
        (LetterFilter(owner=first.owner_id), [at]),
        (LetterFilter(owner=a_request().owner_id), []),
        (LetterFilter(type="generation.progressed"), dead.refused),
        (LetterFilter(type="generation.failed"), []),
        (LetterFilter(partition=at.partition), [each for each in every if each.partition == at.partition]),
        (LetterFilter(partition=at.partition, first_offset=at.offset, last_offset=at.offset), [at]),
        (LetterFilter(since=now), []),
        (LetterFilter(until=now, since=now - timedelta(minutes=5)), every),
        (LetterFilter(generation=first.generation_id, reason="not_json"), []),
    ):
        assert await found(pool, settings, wanted) == expected, wanted
    assert len(await found(pool, settings, LetterFilter(parked=True))) == len(every) + 4


async def test_the_owner_of_a_dead_request_is_in_its_record(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    await pool.execute("ALTER TABLE projections.generation_requests ADD CONSTRAINT picky CHECK (prompt <> 'refused')")
    refused = a_request(prompt="refused")
    at = await event_log.append(refused)
    await project_everything(settings, pool)
    assert await found(pool, settings, LetterFilter(owner=refused.owner_id)) == [at]


async def test_a_dry_run_changes_nothing(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    dead = await given(settings, pool, event_log)
    await pool.execute(RELENT)
    tables = ("dead_letters", "timeline", "generation_states", "checkpoints")
    rows = [await pool.fetch(f"SELECT * FROM projections.{table}") for table in tables]
    one = await command(settings, "dead-letters", "retry", str(dead.refused[0]), "--dry-run", "--json")
    assert (one.code, one.document["applied"], one.document["dry_run"]) == (0, 3, True)
    every = await command(settings, "dead-letters", "retry", "--all", "--dry-run")
    assert (every.code, "would resolve 2, folded 6" in every.out) == (1, True)
    gone = await command(settings, "dead-letters", "discard", "--all", "--reason", "not_json", "--dry-run", "--json")
    assert (gone.document["resolved"], gone.document["dry_run"]) == (1, True)
    assert [await pool.fetch(f"SELECT * FROM projections.{table}") for table in tables] == rows
    assert await acts(pool, action=None, limit=9) == []


async def test_what_a_filter_selects_is_resolved_and_audited(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    dead = await given(settings, pool, event_log)
    await pool.execute(RELENT)
    generation_id = str(dead.histories[0][0].generation_id)
    done = await command(
        settings, "dead-letters", "retry", "--all", "--generation", generation_id, "--note", "released", "--json"
    )
    assert (done.code, done.document["resolved"], done.document["folded"]) == (0, 1, 3)
    done = await command(settings, "dead-letters", "discard", "--all", "--type", "generation.progressed", "--json")
    assert (done.code, done.document["resolved"]) == (0, 1)
    assert (await command(settings, "dead-letters", "discard", str(dead.broken), "--note", "no JSON")).code == 0
    assert await found(pool, settings, LetterFilter(parked=True)) == []
    last, second, first = await acts(pool, action=None, limit=9)
    assert [(each.action, each.reason) for each in (first, second, last)] == [
        ("dead-letters retry", "released"),
        ("dead-letters discard", ""),
        ("dead-letters discard", "no JSON"),
    ]
    assert (first.subject, second.subject) == (f"generation {generation_id}", "type generation.progressed")
    assert last.subject == str(dead.broken)
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_everything_is_exported_byte_by_byte(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    dead = await given(settings, pool, event_log)
    lines = (await command(settings, "dead-letters", "export", "--parked")).documents
    assert len(lines) == 7
    [broken] = [each for each in lines if each["position"] == str(dead.broken)]
    assert base64.b64decode(broken["value_base64"]) == b"{\xff"
    assert broken["value"] == "{\\xff"
    assert (broken["type"], broken["reason"]) == (None, "not_json")
    refused = (await command(settings, "dead-letters", "export", "--type", "generation.progressed")).documents
    assert [each["position"] for each in refused] == [str(position) for position in dead.refused]
    shown = await command(settings, "dead-letters", "list", "--partition", str(dead.broken.partition))
    assert str(dead.broken) in shown.out


async def test_filters_that_contradict_are_refused(settings: Settings) -> None:
    for line, match in (
        ("list --first-offset 3", "need a --partition"),
        ("list --since yesterday", "such as 2026"),
        ("retry 0:1 --type x", "--type needs --all"),
        ("retry 0:1 --partition 0", "--partition needs --all"),
        ("discard --all", "--all needs a filter"),
        ("discard --all --note why", "--all needs a filter"),
    ):
        ran = await command(settings, "dead-letters", *line.split())
        assert (ran.code, match in " ".join(ran.err.split())) == (2, True), ran.err


def test_partition_and_offset_0_are_conditions() -> None:
    wanted = LetterFilter(partition=0, first_offset=0, last_offset=0)
    assert wanted.conditions == {"partition": "0", "first_offset": "0", "last_offset": "0"}
    assert LetterFilter(parked=True).conditions == {"parked": "True"}
    assert LetterFilter().conditions == {}


async def test_a_dead_letter_of_an_earlier_version_is_upcast_on_retry(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release without the function that raises it cannot read it; this one can."""
    none: Mapping[tuple[str, int], upcasting.Upcaster] = MappingProxyType({})
    request = a_request()
    await event_log.append(request)
    common = {"id": a_request().id, "generation_id": request.generation_id, "occurred_at": datetime.now(UTC)}
    ended = GenerationTimedOut.model_validate(common | {"producer": "test", "attempt": 1, "reason": "x"})
    document = ended.model_dump(mode="json", exclude_none=True, exclude={"reason"}) | {"schema_version": 1}
    value = str(document).replace("'", '"').encode()
    at = await send_by_key(settings, str(request.generation_id).encode(), value)
    monkeypatch.setattr(upcasting, "UPCASTERS", none)
    await project_everything(settings, pool)
    [letter] = await listed(pool, settings.events_topic, LetterFilter(), limit=9)
    assert (letter.position, letter.reason) == (at, "wrong_schema")
    monkeypatch.undo()
    done = await retry(pool, settings.events_topic, at, TIMINGS, ORDER)
    assert (done.tally.applied, done.stays) == (1, None)
    state = await state_of(pool, request.generation_id)
    assert state is not None
    assert state.status is Status.TIMED_OUT
    report = await verify(settings)
    assert report.agrees, report.samples
