"""The API through its socket, on the real servers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from api.app import routes
from api.server import served_api
from gengui_stream.accounts.api_keys import seed_user
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import GenerationCompleted, Output, ThumbnailCreated
from schemas.http import EventResource, GenerationResource, Problem
from schemas.openapi import OPERATIONS
from tests.integration.projecting import projecting
from tests.integration.running import PATIENCE_S

Json = dict[str, Any]


class Client:
    """One key's view of the API."""

    def __init__(self, session: aiohttp.ClientSession, base: str, key: str) -> None:
        self.session, self.base, self.key = session, base, key

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], Json]:
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        async with self.session.request(method, self.base + path, json=json, data=data, headers=sent) as answer:
            body = await answer.read()
            return answer.status, dict(answer.headers), json_of(body)

    async def create(self, **body: object) -> tuple[str, dict[str, str]]:
        status, headers, found = await self.call("POST", "/v1/generations", json={"prompt": "a fox", **body})
        assert status == 202, found
        return str(found["id"]), headers


def json_of(body: bytes) -> Json:
    return json.loads(body) if body else {}


@pytest_asyncio.fixture
async def base(settings: Settings) -> AsyncIterator[str]:
    async with projecting(settings), served_api(settings, asyncio.Event()) as port:
        address = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            while True:
                async with session.get(f"{address}/readyz") as answer:
                    if answer.status == 200:
                        break
        yield address


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest_asyncio.fixture
async def user(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "user@example.com", "user"))


@pytest_asyncio.fixture
async def other(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "other@example.com", "user"))


@pytest_asyncio.fixture
async def worker(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "worker@example.com", "worker"))


async def test_create_then_read_your_own_write(user: Client, other: Client) -> None:
    generation_id, headers = await user.create(width=512, height=768, seed=7)
    assert headers["Location"].endswith(generation_id)
    status, _, found = await user.call(
        "GET", f"/v1/generations/{generation_id}", headers={"Min-Position": headers["Gengui-Position"]}
    )
    assert status == 200
    resource = GenerationResource.model_validate(found)
    assert (resource.status, resource.width, resource.height, resource.seed) == ("queued", 512, 768, 7)
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel"), ("DELETE", "")):
        status, _, found = await other.call(method, f"/v1/generations/{generation_id}{path}")
        assert (status, found["code"]) == (404, "not_found"), (method, path)


async def test_an_idempotency_key_makes_one_generation(user: Client) -> None:
    body = {"prompt": "once"}
    key = {"Idempotency-Key": "k-1"}
    refused, _, _ = await user.call("POST", "/v1/generations", json={"prompt": ""}, headers=key)
    assert refused == 422
    answers = [await user.call("POST", "/v1/generations", json=body, headers=key) for _ in range(3)]
    assert {status for status, _, _ in answers} == {202}
    assert len({str(found["id"]) for _, _, found in answers}) == 1
    assert len({headers["Gengui-Position"] for _, headers, _ in answers}) == 1
    assert [headers.get("Idempotent-Replayed") for _, headers, _ in answers] == [None, "true", "true"]
    status, _, found = await user.call("POST", "/v1/generations", json={"prompt": "twice"}, headers=key)
    assert (status, found["code"]) == (422, "idempotency_key_reused")


async def test_pages_go_through_everything_once_newest_first(user: Client) -> None:
    made = [await user.create(prompt=f"number {number}") for number in range(7)]
    for _, headers in made:
        await user.call("GET", "/v1/generations", headers={"Min-Position": headers["Gengui-Position"]})
    seen: list[str] = []
    cursor = ""
    while True:
        status, _, page = await user.call("GET", f"/v1/generations?limit=3{cursor}")
        assert status == 200
        data = page["data"]
        assert isinstance(data, list)
        seen += [item["id"] for item in data]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [generation_id for generation_id, _ in reversed(made)]
    _, _, found = await user.call("GET", "/v1/generations?q=NUMBER%204&status=queued,failed")
    assert [item["id"] for item in found["data"]] == [made[4][0]]


async def test_cancel_is_idempotent_and_waits_for_nobody_while_queued(user: Client) -> None:
    generation_id, headers = await user.create()
    await user.call("GET", f"/v1/generations/{generation_id}", headers={"Min-Position": headers["Gengui-Position"]})
    for _ in range(2):
        status, _, found = await user.call("POST", f"/v1/generations/{generation_id}/cancel")
        assert (status, found["status"], found["canceled"]) == (200, "canceled", True)
    status, _, again = await user.call("POST", f"/v1/generations/{generation_id}/retry")
    assert (status, again["retried_from"]) == (202, generation_id)


async def test_prefer_wait_answers_when_it_ended(user: Client, event_log: EventLog) -> None:
    async def complete() -> None:
        while True:
            _, _, page = await user.call("GET", "/v1/generations")
            if isinstance(page["data"], list) and page["data"]:
                break
        await event_log.append(completed(page["data"][0]["id"]))

    completing = asyncio.ensure_future(complete())
    status, headers, found = await user.call(
        "POST", "/v1/generations", json={"prompt": "now"}, headers={"Prefer": "wait=20"}
    )
    await completing
    assert (status, found["status"], headers["Preference-Applied"]) == (200, "completed", "wait=20")


def completed(generation_id: str) -> GenerationCompleted:
    return GenerationCompleted(
        id=new_id(),
        generation_id=uuid.UUID(generation_id),
        occurred_at=datetime.now(UTC),
        producer="test",
        outputs=(Output(object_key="users/a/media/b.png"),),
    )


async def test_a_stream_ends_when_everything_is_settled_and_resumes_without_gap_or_repeat(
    user: Client, event_log: EventLog
) -> None:
    generation_id, headers = await user.create()
    made = ThumbnailCreated(
        id=new_id(),
        generation_id=uuid.UUID(generation_id),
        occurred_at=datetime.now(UTC),
        producer="test",
        object_key="t.webp",
        mime_type="image/webp",
        width=1,
        height=1,
        bytes=1,
    )
    await event_log.append_many([completed(generation_id), made])
    path = f"/v1/generations/{generation_id}/stream"
    position = {"Min-Position": headers["Gengui-Position"]}
    whole = await read_stream(user, path, position)
    assert [kind for _, kind in whole] == ["generation.requested", "generation.completed", "thumbnail.created", "end"]
    rest = await read_stream(user, path, {"Last-Event-ID": whole[0][0]})
    assert rest == whole[1:]


async def read_stream(client: Client, path: str, headers: dict[str, str]) -> list[tuple[str, str]]:
    """(id, event) of every message until the server ends the stream."""
    sent = {"Authorization": f"Bearer {client.key}", **headers}
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(PATIENCE_S), client.session.get(client.base + path, headers=sent) as answer:
        assert answer.status == 200
        async for block in _blocks(answer):
            if "event" in block:
                found.append((block.get("id", ""), block["event"]))
                if block["event"] != "end":
                    EventResource.model_validate_json(block["data"])
    return found


async def _blocks(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    block: dict[str, str] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if not name and block:
            yield block
            block = {}
        elif name:
            block[name] = value


async def test_workers_report_in_batches_each_event_answered_by_name(user: Client, worker: Client) -> None:
    generation_id, _ = await user.create()
    good = json.loads(completed(generation_id).model_dump_json())
    batch = {"events": [good, {**good, "outputs": []}, {**good, "type": "generation.requested"}, 7]}
    status, _, found = await worker.call("POST", "/v1/worker/events", json=batch)
    assert status == 200
    outcomes = [item["outcome"] for item in found["data"]]
    assert outcomes == ["accepted", "refused", "refused", "refused"]
    status, _, found = await user.call("POST", "/v1/worker/events", json=batch)
    assert (status, found["code"]) == (403, "forbidden")


BAD = [
    ({"prompt": 5}, "prompt"),
    ({"prompt": "x" * 10_001}, "prompt"),
    ({"prompt": "x\x00"}, "prompt"),
    ({"prompt": "x", "width": 1000}, "width"),
    ({"prompt": "x", "height": 4096}, "height"),
    ({"prompt": "x", "seed": -1}, "seed"),
    ({"prompt": "x", "colour": "red"}, "colour"),
    ({"prompt": "x", "provider": "nobody"}, "provider"),
    ([], "body"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
async def test_bad_bodies_are_refused_by_the_name_of_the_field(user: Client, body: object, field: str) -> None:
    status, headers, found = await user.call("POST", "/v1/generations", json=body)
    assert status == 422
    assert headers["Content-Type"].startswith("application/problem+json")
    problem = Problem.model_validate(found)
    assert problem.errors is not None
    assert field in {each.field for each in problem.errors}


async def test_everything_else_that_is_wrong_is_a_problem_document(user: Client) -> None:
    create = "/v1/generations"
    js = {"Content-Type": "application/json"}
    cases = [
        (await user.call("POST", create, data=b"{", headers=js), 400, "malformed_json"),
        (await user.call("POST", create, data=b"\xff", headers=js), 400, "malformed_json"),
        (
            await user.call("POST", create, data=b"{}", headers={"Content-Type": "text/plain"}),
            415,
            "unsupported_media_type",
        ),
        (await user.call("POST", create, data=b" " * 70_000, headers=js), 413, "body_too_large"),
        (await user.call("GET", create, headers={"Authorization": "Bearer nonsense"}), 401, "unauthorized"),
        (await user.call("GET", f"{create}/not-an-id"), 404, "not_found"),
        (await user.call("GET", f"{create}/{uuid.uuid4()}"), 404, "not_found"),
        (await user.call("GET", "/nowhere"), 404, "not_found"),
        (await user.call("PUT", create), 405, "method_not_allowed"),
        (await user.call("GET", f"{create}?cursor=bm9uc2Vuc2U="), 422, "invalid_request"),
        (await user.call("GET", f"{create}?cursor=é"), 422, "invalid_request"),
        (await user.call("GET", f"{create}?limit=0&colour=red"), 422, "invalid_request"),
        (await user.call("GET", f"{create}?created_after=yesterday"), 422, "invalid_request"),
        (await user.call("GET", create, headers={"Min-Position": "soon"}), 422, "invalid_request"),
        (await user.call("GET", create, headers={"Min-Position": "0:99999"}), 504, "projection_behind"),
        (await user.call("GET", "/v1/stream", headers={"Last-Event-ID": "0:1,0:2"}), 422, "invalid_request"),
    ]
    for (status, _, found), expected, code in cases:
        assert (status, found.get("code")) == (expected, code), found


async def test_the_documentation_names_every_route_and_no_other(user: Client) -> None:
    served = {(route.method.lower(), route.path) for route in routes()}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served
    status, _, document = await user.call("GET", "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    async with user.session.get(f"{user.base}/docs") as answer:
        assert "SwaggerUIBundle" in await answer.text()


async def test_the_process_ends_at_once_with_a_stream_open(settings: Settings, pool: Pool) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        async with projecting(settings), served_api(settings, asyncio.Event()) as port:
            address = f"http://127.0.0.1:{port}"
            while True:
                async with session.get(f"{address}/readyz") as ready:
                    if ready.status == 200:
                        break
            stream = await session.get(f"{address}/v1/stream", headers={"Authorization": f"Bearer {key}"})
            await stream.content.readline()
        assert b"Last-Event-ID" in await stream.content.read()
