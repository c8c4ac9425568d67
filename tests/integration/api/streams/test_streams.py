"""Server-sent events: complete, live, resumable without gap or repeat, and ended gracefully."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import product
from urllib.parse import quote
from uuid import UUID

import aiohttp
import pytest

from api.handlers import streams
from api.limits import stream_limit
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import encode_value
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections.timeline_retention import prune
from gengui_stream.settings import Settings
from schemas.events import GenerationFailed
from tests.integration.api.client import Client, completed, failed, started, thumbnail
from tests.integration.api.conftest import serving
from tests.integration.log.logs import send_to
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually

ALL = "/v1/stream"
HEADER, PARAMETER = "Last-Event-ID", "last_event_id"


async def test_a_stream_ends_when_everything_is_settled_and_resumes_without_gap_or_repeat(
    user: Client, event_log: EventLog
) -> None:
    generation_id = await user.created()
    path = f"/v1/generations/{generation_id}/stream"
    async with user.stream(path) as live:
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        whole = await live.rest()
    kinds = ["generation.requested", "generation.completed", "thumbnail.created", "end"]
    assert [message.event for message in whole] == kinds
    for seen in range(1, 4):
        async with user.stream(path, last_event_id=whole[seen - 1].id) as rest:
            assert await rest.rest() == whole[seen:]


async def test_a_stream_of_everything_has_each_event_once_over_many_connections(
    user: Client, other: Client, event_log: EventLog
) -> None:
    """Events are made all the while; each connection reads a few and is cut, the next says where the last one was."""
    async with user.stream(ALL) as beginning:
        await beginning.next()
        last_id = beginning.seen[0].id
        making = asyncio.ensure_future(_make(user, other, event_log))
        found: list[str] = []
        while len(found) < 60:
            async with user.stream(ALL, last_event_id=last_id) as stream:
                messages = await stream.events(6)
            found += [message.position for message in messages]
            last_id = messages[-1].id
        made = await making
        once = [message.position for message in await beginning.events(60)]
    assert Counter(found) == Counter(once) == Counter(dict.fromkeys(found, 1))
    positions = {item["position"] for one in made for item in (await user.get(f"/v1/generations/{one}/events"))["data"]}
    assert set(found[:60]) == positions


async def _make(user: Client, other: Client, event_log: EventLog) -> list[str]:
    """20 generations of three events each, and what is another's."""
    made = []
    for _ in range(20):
        generation_id, _ = await user.create()
        await other.create()
        await event_log.append_many([completed(generation_id), failed(generation_id)])
        made.append(generation_id)
    return made


async def test_a_stream_is_resumed_at_another_process(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession, event_log: EventLog
) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    async with projecting(settings), AsyncExitStack() as streams_open:
        async with serving(settings, session) as base:
            user = Client(session, base, key)
            stream = await streams_open.enter_async_context(user.stream(ALL))
            generation_id, _ = await user.create()
            [requested] = await stream.events(1)
        rest = await stream.rest()
        assert rest == []
        assert "Last-Event-ID" in stream.seen[-1].comment
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        async with (
            serving(settings, session) as base,
            Client(session, base, key).stream(ALL, last_event_id=requested.id) as resumed,
        ):
            assert [message.event for message in await resumed.events(2)] == [
                "generation.completed",
                "thumbnail.created",
            ]


async def test_a_quiet_stream_says_that_it_is_there(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "COMMENT_EVERY_S", 0.2)
    async with user.stream(ALL) as stream:
        await stream.next()
        for _ in range(3):
            message = await stream.next(within_s=10)  # less than without the patch
            assert message is not None
            assert message.comment


async def test_a_stream_outlives_the_database(
    user: Client, pool: Pool, settings: Settings, event_log: EventLog
) -> None:
    """Its connections are cut as a restart of the server would: the stream continues with the events in between."""
    async with user.stream(ALL) as stream:
        await stream.next()
        generation_id, _ = await user.create()
        await stream.events(1)
        for _ in range(3):
            await pool.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND application_name = 'gengui-stream'"
            )
            await event_log.append(completed(generation_id))
        assert [message.event for message in await stream.events(1)] == ["generation.completed"]


async def test_a_place_that_is_none_is_refused_by_name(user: Client) -> None:
    generation_id = await user.created()
    bad_ids = ["0:1,0:2", "invalid", "0", "0:x", "-1:1", "0:1,", "999:1", "0:999999999999999999999", "\U00103c8d"]
    for path, bad in product((ALL, f"/v1/generations/{generation_id}/stream"), bad_ids):
        sent = quote(bad, safe=":,")
        for headers, query, fields in (
            ({HEADER: sent}, "", [HEADER]),
            ({}, f"?{PARAMETER}={sent}", [PARAMETER]),
            ({HEADER: "beginning"}, f"?{PARAMETER}={sent}", [PARAMETER]),
            ({HEADER: sent}, f"?{PARAMETER}={sent}", [HEADER, PARAMETER]),
        ):
            status, _, found = await user.call("GET", path + query, headers=headers)
            assert (status, found["code"]) == (422, "invalid_request")
            assert [each["field"] for each in found["errors"]] == fields


async def test_a_reader_that_stops_for_a_while_misses_nothing_and_delays_no_other(
    user: Client, event_log: EventLog
) -> None:
    """More than the buffers on the way can hold: the server has to wait for it."""
    generation_id = await user.created()
    long = failed(generation_id).model_dump() | {"error": {"code": "x", "message": "m" * 2_000, "retryable": False}}
    late = [GenerationFailed.model_validate(long | {"id": new_id()}) for _ in range(3_000)]
    await event_log.append_many([completed(generation_id), *late])
    async with user.stream(f"/v1/generations/{generation_id}/stream") as stream:
        first = await stream.events(1)
        await user.get("/v1/generations")
        rest = await stream.events(3_001)
    assert len({message.position for message in first + rest}) == 3_002


async def test_an_event_on_another_partition_is_streamed_and_paged_once(
    user: Client, settings: Settings, event_log: EventLog
) -> None:
    """As the partitioner of another Kafka client may put it there: the timeline has it where it was, and its copy."""
    generation_id = await user.created()
    path = f"/v1/generations/{generation_id}"
    [item] = (await user.get(f"{path}/events"))["data"]
    home = int(item["position"].split(":")[0])
    stray = encode_value(started(generation_id))
    async with user.stream(f"{path}/stream") as live:
        [requested] = await live.events(1)
        await send_to(settings, (home + 1) % settings.events_partitions, generation_id.encode(), stray)
        both = await live.events(2)
    assert [message.event for message in both] == ["generation.started"] * 2
    async with user.stream(f"{path}/stream", last_event_id=both[-1].id) as rest:
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        assert [message.event for message in await rest.rest()] == ["generation.completed", "thumbnail.created", "end"]
    async with user.stream(f"{path}/stream", last_event_id=requested.id) as rest:
        assert sorted(message.event for message in await rest.rest()) == [
            "end",
            "generation.completed",
            "generation.started",
            "generation.started",
            "thumbnail.created",
        ]
    paged = [item["type"] async for page in user.pages(f"{path}/events", limit=1) for item in page["data"]]
    once = ["generation.completed", "generation.requested", "thumbnail.created"]
    assert sorted(paged) == sorted([*once, "generation.started", "generation.started"])


async def test_a_stream_of_a_pruned_timeline_begins_with_the_cut_and_ends(
    user: Client, event_log: EventLog, pool: Pool, settings: Settings
) -> None:
    generation_id = await user.created()
    path = f"/v1/generations/{generation_id}"
    async with user.stream(f"{path}/stream") as live:
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        partition = int((await live.rest())[0].position.partition(":")[0])
    assert (await user.get(f"{path}/events"))["pruned_before"] is None
    await prune(pool, UUID(int=0), range(16), timedelta(0))
    events = await user.get(f"{path}/events")
    assert (events["data"], events["pruned_before"] is None) == ([], False)
    async with user.stream(f"{path}/stream") as stream:
        messages = await stream.rest()
    assert [message.event for message in messages] == ["pruned", "end"]
    assert events["pruned_before"] in messages[0].data
    assert (await user.get(f"{path}/events?cursor={partition}:0"))["data"] == [], "it may have had this event"
    status, _, refused = await user.call(
        "GET", f"{path}/events?cursor={(partition + 1) % settings.events_partitions}:0"
    )
    assert (status, refused["errors"][0]["field"]) == (422, "cursor"), "of another partition"


@pytest.mark.parametrize("of_one", [False, True])
async def test_a_user_has_a_limited_number_of_open_streams(
    user: Client, other: Client, monkeypatch: pytest.MonkeyPatch, of_one: bool
) -> None:
    monkeypatch.setattr(stream_limit, "STREAMS_MAX", 2)
    path = f"/v1/generations/{await user.created()}/stream" if of_one else ALL
    async with user.stream(path), user.stream(ALL):
        status, headers, found = await user.call("GET", path)
        assert (status, found["code"], headers["Retry-After"]) == (429, "too_many_streams", "10")
        async with other.stream(ALL) as unaffected:
            assert await unaffected.next() is not None

    async def is_open() -> bool:
        async with user.session.get(user.base + path, headers={"Authorization": f"Bearer {user.key}"}) as answer:
            return answer.status == 200

    await eventually(is_open)
