"""The log as it grows, by type, generation, owner, provider and time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery import tail
from gengui_stream.recovery.tail import Tail, TailFilter
from gengui_stream.settings import Settings
from schemas.events import Event, GenerationDispatched, GenerationRequested
from tests.events import wide_history
from tests.integration.commands import command
from tests.integration.log.logs import everything, send_by_key
from tests.integration.projector.projecting import project_everything

pytestmark = pytest.mark.stack


async def tailed(settings: Settings, *options: str) -> list[Any]:
    ran = await command(settings, "events", "tail", "--no-follow", "--json", *options)
    assert ran.code == 0, ran.err
    return ran.documents


def ids(found: list[Any]) -> set[str]:
    return {each["key"] for each in found}


def two_at_providers() -> list[list[Event]]:
    """The second is dispatched to another provider than the one it was requested for."""
    first, second = (wide_history(number, start=datetime.now(UTC)) for number in (1, 2))
    dispatched = GenerationDispatched.model_validate(second[1].model_dump() | {"provider": "runpod"})
    return [first, [second[0], dispatched, *second[2:]]]


@pytest.mark.parametrize("begins", ["start", "in the middle"])
async def test_owners_and_providers_are_known_for_every_event(
    settings: Settings, pool: Pool, event_log: EventLog, begins: str
) -> None:
    """Also for those that name neither, whether the tail has read the events that do or begins behind them."""
    first, second = two_at_providers()
    assert isinstance(first[0], GenerationRequested)
    for event in (*first[:3], *second[:3]):
        await event_log.append(event)
    await project_everything(settings, pool)
    fourth = [await event_log.append(each[3]) for each in (first, second)]
    ends = {position.partition: position.offset for position in reversed(fourth)}  # both may be on one
    await event_log.append_many([*first[4:], *second[4:]])
    place = "start" if begins == "start" else ",".join(f"{partition}:{offset}" for partition, offset in ends.items())
    events = 10 if begins == "start" else 7
    of_first = await tailed(settings, "--from", place, "--owner", str(first[0].owner_id))
    assert (ids(of_first), len(of_first)) == ({str(first[0].generation_id)}, events)
    of_second = await tailed(settings, "--from", place, "--provider", "runpod")
    assert ids(of_second) == {str(second[0].generation_id)}
    assert len(of_second) == events - (begins == "start")
    neither = await tailed(settings, "--from", place, "--provider", "runpod", "--owner", str(first[0].owner_id))
    assert neither == []


async def test_what_is_remembered_is_bounded_and_looked_up_again(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "REMEMBERED", 1)
    first, second = two_at_providers()
    assert isinstance(first[0], GenerationRequested)
    await event_log.append_many([event for pair in zip(first, second, strict=True) for event in pair])
    await project_everything(settings, pool)
    selecting = Tail(TailFilter(owner=first[0].owner_id), pool)
    found = [record for each in await everything(settings) async for record, *_ in selecting.select([each])]
    assert len(found) == 10


async def test_a_tail_begins_at_a_time(settings: Settings, event_log: EventLog) -> None:
    history = wide_history(0, start=datetime.now(UTC))
    await event_log.append_many(history[:4])
    before = await tailed(settings, "--from", "start")
    moment = datetime.fromisoformat(before[-1]["appended_at"]) + timedelta(milliseconds=1)
    while datetime.now(UTC) <= moment:
        pass
    await event_log.append_many(history[4:])
    found = await tailed(settings, "--since", moment.isoformat())
    assert [each["event"]["id"] for each in found] == [str(event.id) for event in history[4:]]
    assert await tailed(settings, "--since", (moment + timedelta(hours=1)).isoformat()) == []


async def test_filters_combine_with_what_cannot_be_decoded(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history = wide_history(0, start=datetime.now(UTC))
    assert isinstance(history[0], GenerationRequested)
    await event_log.append_many(history[:3])
    at = await send_by_key(settings, str(history[0].generation_id).encode(), b"{")
    await project_everything(settings, pool)
    found = await tailed(settings, "--from", "start", "--owner", str(history[0].owner_id))
    assert [each["type"] for each in found][-1] == "(not_json)"
    assert found[-1]["position"] == str(at)
    started = await tailed(
        settings, "--from", "start", "--owner", str(history[0].owner_id), "--type", "generation.started"
    )
    assert [each["type"] for each in started] == ["generation.started"]
    plain = await command(settings, "events", "tail", "--no-follow", "--from", "start", "--provider", "local")
    assert plain.out.count("\n") == 4


async def test_bad_arguments_are_refused(settings: Settings) -> None:
    for options in (("--since", "noon"), ("--since", "2026-01-01", "--from", "start"), ("--owner", "me")):
        assert (await command(settings, "events", "tail", *options)).code == 2
