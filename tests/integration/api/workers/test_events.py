"""POST /v1/worker/events: a batch, each event accepted or refused by name."""

import io
import json
import uuid
from uuid import UUID

from gengui_stream.identifiers import new_id
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.integration.api.client import Client, Json, completed, failed, started
from tests.integration.following import until
from tests.integration.running import eventually

PATH = "/v1/worker/events"


def _document(event: Event) -> Json:
    found: Json = json.loads(event.model_dump_json())
    return found


async def test_workers_report_in_batches_each_event_answered_by_name(
    user: Client, worker: Client, settings: Settings
) -> None:
    generation_id = await user.created()
    async with open_object_store(settings) as store:
        await store.put("users/a/media/b.png", b"picture", "image/png")
    good = json.loads(completed(generation_id).model_dump_json())
    bad = [
        {**good, "outputs": []},
        {**good, "type": "generation.requested"},
        {**good, "type": "invalid"},
        {**good, "id": "x" * 36},
        {**good, "occurred_at": 1_795_889_820},
        {**good, "occurred_at": "1795889820"},
        {**good, "id": f"urn:uuid:{good['id']}"},
        {**good, "generation_id": f"{{{generation_id}}}"},
        {**good, "generation_id": None},
        {},
        7,
        None,
        [[]],
    ]
    status, _, found = await worker.call("POST", PATH, json={"events": [good, *bad, good]})
    assert status == 200
    outcomes = found["data"]
    assert [item["index"] for item in outcomes] == list(range(len(bad) + 2))
    assert [item["outcome"] for item in outcomes] == ["accepted", *["refused"] * len(bad), "accepted"]
    assert all(item["detail"] for item in outcomes[1:-1])
    assert outcomes[1]["id"] == good["id"]
    assert "outputs" in outcomes[1]["detail"]

    async def done() -> bool:
        found = await user.get(f"/v1/generations/{generation_id}/events")
        return [item["ignored"] is None for item in found["data"]] == [True, True, False]

    await eventually(done)


async def test_a_batch_refused_whole_is_no_success(user: Client, worker: Client) -> None:
    known = await user.created()
    unknown = UUID("0195b7a0-0000-7000-8000-000000000000")
    cases: list[tuple[list[Json], int, str]] = [
        ([_document(failed(str(unknown)))], 404, "unknown_generation"),
        ([_document(failed(str(uuid.uuid4())))] * 2, 404, "unknown_generation"),
        ([_document(completed(known))], 422, "object_missing"),
        ([{**_document(completed(known)), "outputs": []}], 422, "invalid_event"),
        ([_document(completed(known)), _document(failed(str(unknown)))], 422, "events_refused"),
    ]
    for events, expected, code in cases:
        status, _, problem = await worker.call("POST", PATH, json={"events": events})
        assert (status, problem["code"]) == (expected, code)
        assert [error["field"] for error in problem["errors"]] == [f"events.{index}" for index in range(len(events))]
    both = [_document(failed(str(unknown))), _document(started(known))]
    status, _, found = await worker.call("POST", PATH, json={"events": both})
    assert status == 200
    assert [(item["outcome"], item.get("code")) for item in found["data"]] == [
        ("refused", "unknown_generation"),
        ("accepted", None),
    ]
    assert (await user.get(f"/v1/generations/{known}"))["error"] is None


async def test_a_report_on_a_generation_that_may_be_on_its_way_is_accepted(worker: Client, pool: Pool) -> None:
    event = _document(failed(str(new_id())))
    assert (await worker.call("POST", PATH, json={"events": [event]}))[0] == 200
    event = _document(failed(str(uuid.uuid4())))

    async def accepted_while_they_are_restored() -> bool:
        """The owner of the partitions vouches for them again every few seconds."""
        await pool.execute("UPDATE jobs.partition_owners SET valid_until = '-infinity'")
        return (await worker.call("POST", PATH, json={"events": [event]}))[0] == 200

    await until(accepted_while_they_are_restored)


async def owner_of_generation(pool: Pool, generation_id: str) -> str:
    statement = "SELECT owner_id FROM projections.generation_requests WHERE generation_id = $1"
    return str(await pool.fetchval(statement, generation_id))


async def test_a_worker_cannot_give_a_user_the_picture_of_another(
    user: Client, other: Client, worker: Client, settings: Settings, pool: Pool
) -> None:
    mine, theirs = await user.created(), await other.created()
    owner = await pool.fetchval("SELECT owner_id FROM projections.generation_requests WHERE generation_id = $1", theirs)
    key = f"users/{owner}/media/{theirs}.png"
    async with open_object_store(settings) as store:
        await store.put(key, b"secret", "image/png")
    event = _document(completed(mine))
    event["outputs"][0]["object_key"] = key
    status, _, problem = await worker.call("POST", PATH, json={"events": [event]})
    assert (status, problem["code"]) == (422, "foreign_object_key")
    mine_as_text = key.replace(f"users/{owner}", f"users/{await owner_of_generation(pool, mine)}/../{owner}")
    for odd in (
        mine_as_text,
        f"/{key}",
        f"x/../{key}",
        f"./{key}",
        key.replace("/media", "//media"),
        f"users\\{owner}",
    ):
        event["outputs"][0]["object_key"] = odd
        status, _, problem = await worker.call("POST", PATH, json={"events": [event]})
        assert (status, problem["code"]) == (422, "foreign_object_key"), odd
    event["outputs"][0]["object_key"] = key
    event["generation_id"] = theirs
    assert (await worker.call("POST", PATH, json={"events": [event]}))[0] == 200


async def test_the_object_of_a_user_is_not_taken_before_the_owner_is_known(
    other: Client, worker: Client, settings: Settings, pool: Pool
) -> None:
    theirs = await other.created()
    owner = await pool.fetchval("SELECT owner_id FROM projections.generation_requests WHERE generation_id = $1", theirs)
    key = f"users/{owner}/media/{theirs}.png"
    async with open_object_store(settings) as store:
        await store.put(key, b"secret", "image/png")
    event = _document(completed(str(new_id())))  # it may be on its way
    event["outputs"][0]["object_key"] = key
    status, headers, problem = await worker.call("POST", PATH, json={"events": [event]})
    assert (status, problem["code"], "Retry-After" in headers) == (503, "unavailable", True)


async def test_only_workers_report_and_only_users_ask(user: Client, worker: Client) -> None:
    event = json.loads(completed(str(uuid.uuid4())).model_dump_json())
    status, _, found = await user.call("POST", PATH, json={"events": [event]})
    assert (status, found["code"]) == (403, "forbidden")
    status, _, found = await worker.call("POST", "/v1/generations", json={"prompt": "x"})
    assert (status, found["code"]) == (403, "forbidden")


async def test_what_is_no_batch_is_refused_as_a_whole(worker: Client) -> None:
    event = json.loads(completed(str(uuid.uuid4())).model_dump_json())
    batches: list[object] = [
        {},
        [],
        {"events": []},
        {"events": event},
        {"events": [event] * 501},
        {"events": [event], "x": 1},
    ]
    for body in batches:
        status, _, found = await worker.call("POST", PATH, json=body)
        assert (status, found["errors"][0]["field"]) == (422, "events")
    status, _, found = await worker.call(
        "POST", PATH, data=io.BytesIO(b" " * 1_050_000), headers={"Content-Type": "application/json"}
    )
    assert (status, found["code"]) == (413, "body_too_large")
