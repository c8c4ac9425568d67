"""Cancel, retry, delete."""

import asyncio

from gengui_stream.log.event_log import EventLog
from tests.integration.api.client import Client, completed
from tests.integration.running import eventually

LIST = "/v1/generations"


async def test_cancel_is_idempotent_and_immediate_while_queued(user: Client) -> None:
    generation_id = await user.created()
    answers = await asyncio.gather(*(user.call("POST", f"{LIST}/{generation_id}/cancel") for _ in range(4)))
    answers.append(await user.call("POST", f"{LIST}/{generation_id}/cancel"))
    assert {(status, found["status"], found["canceled"]) for status, _, found in answers} == {(200, "canceled", True)}


async def test_a_cancel_right_after_the_request_finds_it_by_position(user: Client) -> None:
    generation_id, position = await user.create()
    path, sent = f"{LIST}/{generation_id}/cancel", {"Min-Position": position}
    status, _, found = await user.call("POST", path, headers=sent)
    assert (status, found["canceled"]) == (200, True)


async def test_what_has_ended_cannot_be_canceled_any_more(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created()
    await event_log.append(completed(generation_id))
    status, _, found = await user.call("POST", f"{LIST}/{generation_id}/cancel")
    assert status == 200
    assert found["canceled"] is (found["status"] == "canceled")
    await eventually(lambda: _is(user, generation_id, "completed"))
    status, _, found = await user.call("POST", f"{LIST}/{generation_id}/cancel")
    assert (status, found["status"], found["canceled"]) == (200, "completed", False)


async def _is(user: Client, generation_id: str, status: str) -> bool:
    return bool((await user.get(f"{LIST}/{generation_id}"))["status"] == status)


async def test_only_what_has_ended_is_retried_and_a_key_makes_one_of_it(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created(prompt="again", seed=3, width=512)
    path = f"{LIST}/{generation_id}/retry"
    status, _, found = await user.call("POST", path)
    assert (status, found["code"]) == (409, "not_ended")
    await event_log.append(completed(generation_id))
    await eventually(lambda: _is(user, generation_id, "completed"))
    key = {"Idempotency-Key": "r"}
    answers = [await user.call("POST", path, headers=key) for _ in range(2)]
    assert [status for status, _, _ in answers] == [202, 202]
    assert answers[0][2] == answers[1][2]
    assert answers[1][1]["Idempotent-Replayed"] == "true"
    again = answers[0][2]
    assert again["id"] != generation_id
    assert (again["retried_from"], again["prompt"], again["seed"], again["width"]) == (generation_id, "again", 3, 512)
    status, _, found = await user.call("POST", LIST, json={"prompt": "x"}, headers=key)
    assert (status, found["code"]) == (422, "idempotency_key_reused")
    read = await user.get(f"{LIST}/{again['id']}", Min_Position=answers[0][1]["Gengui-Position"])
    assert {**read, "queue": None} == again


async def test_what_was_deleted_is_gone_everywhere_at_once(user: Client) -> None:
    generation_id, kept = await user.created(), await user.created()
    status, headers, found = await user.call("DELETE", f"{LIST}/{generation_id}")
    assert (status, found) == (204, {})
    assert headers["Gengui-Position"]
    assert [item["id"] for item in (await user.get(LIST))["data"]] == [kept]
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel"), ("DELETE", "")):
        status, _, found = await user.call(method, f"{LIST}/{generation_id}{path}")
        assert (status, found["code"]) == (404, "not_found"), (method, path)
