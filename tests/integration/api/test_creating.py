"""POST /v1/generations: its response, its idempotency, and its waiting time."""

import asyncio
from uuid import UUID

from gengui_stream.log.event_log import EventLog
from schemas.http import GenerationResource
from tests.integration.api.client import Client, completed
from tests.integration.running import eventually

CREATE = "/v1/generations"


async def test_create_then_read_your_own_write(user: Client) -> None:
    body = {"prompt": "a fox", "width": 512, "height": 768, "seed": 7}
    status, headers, made = await user.call("POST", CREATE, json=body)
    assert status == 202
    assert headers["Location"] == made["urls"]["self"] == f"{user.base}{CREATE}/{made['id']}"
    found = await user.get(f"{CREATE}/{made['id']}", Min_Position=headers["Gengui-Position"])
    assert {**found, "queue": None} == made
    resource = GenerationResource.model_validate(found)
    assert (resource.status, resource.width, resource.height, resource.seed) == ("queued", 512, 768, 7)
    assert UUID(made["id"]).version == 7


async def test_an_idempotency_key_makes_one_generation(user: Client) -> None:
    key = {"Idempotency-Key": "k-1"}
    refused, _, _ = await user.call("POST", CREATE, json={"prompt": ""}, headers=key)
    assert refused == 422
    bodies = [
        b'{"prompt": "once", "width": 512}',
        b'{ "width":512,"prompt":"once"}',
        b'{"prompt": "once", "width": 512}',
    ]
    sent = {**key, "Content-Type": "application/json"}
    answers = [await user.call("POST", CREATE, data=body, headers=sent) for body in bodies]
    assert {status for status, _, _ in answers} == {202}
    assert answers[0][2] == answers[1][2] == answers[2][2]
    assert len({headers["Gengui-Position"] for _, headers, _ in answers}) == 1
    assert len({headers["Location"] for _, headers, _ in answers}) == 1
    assert [headers.get("Idempotent-Replayed") for _, headers, _ in answers] == [None, "true", "true"]
    status, _, found = await user.call("POST", CREATE, json={"prompt": "twice"}, headers=key)
    assert (status, found["code"]) == (422, "idempotency_key_reused")


async def test_one_key_sent_many_times_at_once_is_answered_with_what_the_log_has(user: Client) -> None:
    """Without a seed in the body one is drawn: the answers and the projections must agree on it."""
    calls = (user.call("POST", CREATE, json={"prompt": "at once"}, headers={"Idempotency-Key": "k"}) for _ in range(12))
    answers = await asyncio.gather(*calls)
    assert {status for status, _, _ in answers} == {202}
    [position] = {headers["Gengui-Position"] for _, headers, _ in answers}
    made = answers[0][2]
    assert all(found == made for _, _, found in answers)
    found = await user.get(f"{CREATE}/{made['id']}", Min_Position=position)
    assert {**found, "queue": None} == made
    assert [item["id"] for item in (await user.get(CREATE))["data"]] == [made["id"]]
    timeline = (await user.get(f"{CREATE}/{made['id']}/events"))["data"]
    assert [item["type"] for item in timeline] == ["generation.requested"], "appended once"
    assert sorted(headers.get("Idempotent-Replayed", "") for _, headers, _ in answers) == ["", *["true"] * 11]


async def test_keys_are_each_owners_own(user: Client, other: Client) -> None:
    key = {"Idempotency-Key": "the same"}
    answers = [await who.call("POST", CREATE, json={"prompt": "x"}, headers=key) for who in (user, other)]
    assert [status for status, _, _ in answers] == [202, 202]
    assert answers[0][2]["id"] != answers[1][2]["id"]


async def test_prefer_wait_answers_when_it_ended(user: Client, event_log: EventLog) -> None:
    async def complete() -> None:
        [first] = await eventually(lambda: _all(user))
        await event_log.append(completed(first))

    completing = asyncio.ensure_future(complete())
    wait = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "w"}
    status, headers, found = await user.call("POST", CREATE, json={"prompt": "now"}, headers=wait)
    await completing
    assert (status, found["status"], headers["Preference-Applied"]) == (200, "completed", "wait=20")
    status, headers, again = await user.call("POST", CREATE, json={"prompt": "now"}, headers=wait)
    assert (status, again["id"], headers["Idempotent-Replayed"]) == (200, found["id"], "true")


async def _all(user: Client) -> list[str]:
    return [item["id"] for item in (await user.get(CREATE))["data"]]


async def test_prefer_wait_is_over_in_time(user: Client) -> None:
    status, headers, found = await user.call("POST", CREATE, json={"prompt": "x"}, headers={"Prefer": "wait=1"})
    assert (status, found["status"], headers["Preference-Applied"]) == (202, "queued", "wait=1")
    for quoted in ('wait="1"', 'foo="a,\\" wait=9", Wait = 1; x=y', "wait=1, wait=50"):
        _, headers, _ = await user.call("POST", CREATE, json={"prompt": "x"}, headers={"Prefer": quoted})
        assert headers["Preference-Applied"] == "wait=1", quoted
    for ignored in (
        "wait=0",
        "wait=-1",
        "wait=soon",
        "wait",
        "handling=strict",
        'wait="',
        'wait="1',
        "waits=1",
        "wait;=1",
    ):
        status, headers, _ = await user.call("POST", CREATE, json={"prompt": "x"}, headers={"Prefer": ignored})
        assert (status, headers.get("Preference-Applied")) == (202, None)
