"""GET: one generation, pages of generations, and timelines."""

import uuid
from datetime import UTC, datetime

import pytest

from api import projection_waits
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.queries import generations
from schemas.events import ThumbnailFailed
from tests.integration.api.client import Client, Json, completed, failed, started, thumbnail
from tests.integration.running import eventually

LIST = "/v1/generations"
INTERNALS = {"producer", "object_key", "t.webp", "users/a/media/b.png"}


async def test_what_belongs_to_another_is_not_there(
    user: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = await user.created()
    monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", 0.1)
    paths = [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/stream"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ]
    for method, path in paths:
        theirs = await other.call(method, f"{LIST}/{generation_id}{path}")
        nobodys = await other.call(method, f"{LIST}/{new_id()}{path}")
        assert (theirs[0], theirs[2]) == (nobodys[0], nobodys[2])
        assert (theirs[0], theirs[2]["code"]) == (504, "projection_behind"), "young ids: they may be on their way"
    monkeypatch.setattr(projection_waits, "_is_young", lambda _: False)
    for method, path in paths:
        for generation in (generation_id, new_id(), uuid.uuid4()):
            status, _, found = await other.call(method, f"{LIST}/{generation}{path}")
            assert (status, found["code"]) == (404, "not_found"), (method, path)
    assert (await other.get(LIST))["data"] == []
    assert (await user.get(f"{LIST}/{generation_id}"))["status"] == "queued"


async def test_an_output_that_is_not_there_is_missing(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created()
    gone = ThumbnailFailed(
        id=new_id(), generation_id=uuid.UUID(generation_id), occurred_at=datetime.now(UTC), producer="test",
        reason="object_missing",
    )  # fmt: skip
    await event_log.append(completed(generation_id))

    async def outputs() -> list[Json]:
        found: list[Json] = (await user.get(f"{LIST}/{generation_id}"))["outputs"]
        return found

    [output] = await eventually(outputs)
    assert (output["missing"], output["url"] is None) == (False, False)
    await event_log.append(gone)

    async def missing() -> bool:
        return [(each["missing"], each["url"], each["expires_at"]) for each in await outputs()] == [(True, None, None)]

    await eventually(missing)


async def test_pages_go_through_everything_once_newest_first_while_more_is_added(user: Client) -> None:
    made = [await user.created(prompt=f"number {number}") for number in range(7)]
    seen: list[str] = []
    async for page in user.pages(LIST, limit=3):
        seen += [item["id"] for item in page["data"]]
        if page["next_cursor"] is not None:
            await user.created(prompt="added meanwhile")
    assert seen == made[::-1]
    assert (await user.get(f"{LIST}?limit=9"))["next_cursor"] is None, "exactly as many as there are"


async def test_filters_narrow_a_list_and_go_together(user: Client, event_log: EventLog) -> None:
    made = [await user.created(prompt=prompt) for prompt in ("100% red", "a RED_fox", "blue \\ green")]
    await event_log.append_many([failed(made[0])])

    async def found(query: str) -> list[str]:
        return [item["id"] for item in (await user.get(f"{LIST}?{query}"))["data"]]

    await eventually(lambda: found("status=failed"))
    assert await found("q=red") == [made[1], made[0]]
    assert await found("q=100%25") == [made[0]]
    assert await found("q=d_f") == [made[1]]
    assert await found("q=%25") == [made[0]]
    assert await found("q=%5C") == [made[2]]
    assert await found("q=red&status=failed,completed") == [made[0]]
    assert await found("provider=local&limit=1") == [made[2]]
    assert await found("provider=unknown") == []
    assert await found("q=BLUE") == [made[2]]
    moment = (await user.get(f"{LIST}/{made[1]}"))["created_at"]
    assert await found(f"created_after={moment}") == [made[2], made[1]]
    assert await found(f"created_before={moment}") == [made[0]]


async def test_a_search_ignores_the_case_of_every_script(user: Client) -> None:
    russian, latin = [await user.created(prompt=prompt) for prompt in ("Привет, МИР", "ünïcödé ΌΣΟΣ")]
    for text, expected in (("привет, мир", russian), ("ПРИВЕТ", russian), ("ÜNÏ", latin), ("όσος", latin)):
        assert [item["id"] for item in (await user.get(f"{LIST}?q={text}"))["data"]] == [expected], text


async def test_a_filtered_page_may_be_short_before_the_last(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [await user.created(prompt=prompt) for prompt in ("rare", "usual", "usual", "rare", "usual")]
    monkeypatch.setattr(generations, "SCANNED_MAX", 2)
    pages = [[item["id"] for item in page["data"]] async for page in user.pages(f"{LIST}?q=rare", limit=2)]
    assert pages == [[made[3]], [], [made[0]]]


async def test_a_history_has_what_was_ignored_with_the_reason_and_goes_by_pages(
    user: Client, event_log: EventLog
) -> None:
    generation_id = await user.created()
    await event_log.append_many([completed(generation_id), failed(generation_id), completed(generation_id)])
    path = f"{LIST}/{generation_id}/events"

    async def whole() -> bool:
        return len((await user.get(path))["data"]) == 4

    await eventually(whole)
    everything = (await user.get(path))["data"]
    assert [item["type"] for item in everything] == [
        "generation.requested",
        "generation.completed",
        "generation.failed",
        "generation.completed",
    ]
    assert [item["ignored"] is None for item in everything] == [True, True, False, False]
    assert [item["status"] for item in everything[:2]] == ["queued", "completed"]
    assert everything[1]["event"]["outputs"][0]["id"] == "0"
    first = await user.get(f"{path}?limit=3")
    second = await user.get(f"{path}?limit=3&cursor={first['next_cursor']}")
    assert first["data"] + second["data"] == everything
    assert second["next_cursor"] is None
    other = await user.created()
    [foreign] = (await user.get(f"{LIST}/{other}/events"))["data"]
    for cursor in (foreign["position"], "0:99999"):
        status, _, refused = await user.call("GET", f"{path}?cursor={cursor}")
        assert (status, refused["errors"][0]["field"]) == (422, "cursor"), "of no event of this generation"


async def test_names_of_processes_and_keys_of_objects_are_for_operators(
    user: Client, pool: Pool, event_log: EventLog
) -> None:
    operator = Client(user.session, user.base, await seed_user(pool, "operator@example.com", "admin"))
    for client, expected in ((user, set[str]()), (operator, INTERNALS)):
        generation_id = await client.created()
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        async with client.stream(f"{LIST}/{generation_id}/stream") as stream:
            streamed = " ".join(message.data for message in await stream.rest())
        paged = str((await client.get(f"{LIST}/{generation_id}/events"))["data"])
        for shown in (streamed, paged):
            assert {name for name in INTERNALS if name in shown} == expected


async def test_the_queue_position_is_shown_until_a_worker_has_started(
    user: Client, other: Client, event_log: EventLog
) -> None:
    first, second, third = [await who.created() for who in (user, other, user)]

    async def place(who: Client, generation_id: str) -> int | None:
        queue = (await who.get(f"{LIST}/{generation_id}"))["queue"]
        return int(queue["position"]) if queue else None

    async def places() -> list[int | None]:
        return [await place(user, first), await place(other, second), await place(user, third)]

    async def are(expected: list[int | None]) -> bool:
        return await places() == expected

    await eventually(lambda: are([1, 2, 3]))
    assert [item["queue"]["position"] for item in (await user.get(LIST))["data"]] == [3, 1]
    assert (await user.get(f"{LIST}/{third}"))["queue"]["starts_in_s"] is None, "nothing has ever run"
    await event_log.append(started(first))
    await eventually(lambda: are([None, 1, 2]))
    await event_log.append(completed(first))
    await eventually(lambda: _foretold(user, third))
    assert await places() == [None, 1, 2]


async def _foretold(who: Client, generation_id: str) -> bool:
    return (await who.get(f"{LIST}/{generation_id}"))["queue"]["starts_in_s"] is not None


async def test_an_unchanged_generation_is_not_sent_again(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created()
    path = f"{LIST}/{generation_id}"
    await event_log.append(started(generation_id))

    async def processing() -> bool:
        return bool((await user.get(path))["status"] == "processing")

    await eventually(processing)
    _, headers, found = await user.call("GET", path)
    tag = headers["ETag"]
    assert tag.startswith(f'W/"{found["version"]}-')
    assert headers["Cache-Control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        status, again, body = await user.call("GET", path, headers={"If-None-Match": known})
        assert (status, again["ETag"], body) == (304, tag, {})
    assert (await user.call("HEAD", path, headers={"If-None-Match": tag}))[0] == 304
    for other in ('"other"', "no tag", ""):
        assert (await user.call("GET", path, headers={"If-None-Match": other}))[0] == 200
    await event_log.append(failed(generation_id))

    async def changed() -> bool:
        return (await user.call("GET", path, headers={"If-None-Match": tag}))[0] == 200

    await eventually(changed)
