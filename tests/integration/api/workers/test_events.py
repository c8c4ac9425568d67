"""POST /v1/worker/events: a batch, each event accepted or refused by name."""

import io
import json
import uuid

from tests.integration.api.client import Client, completed
from tests.integration.running import eventually

PATH = "/v1/worker/events"


async def test_workers_report_in_batches_each_event_answered_by_name(user: Client, worker: Client) -> None:
    generation_id = await user.created()
    good = json.loads(completed(generation_id).model_dump_json())
    bad = [
        {**good, "outputs": []},
        {**good, "type": "generation.requested"},
        {**good, "type": "invalid"},
        {**good, "id": "x" * 36},
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
