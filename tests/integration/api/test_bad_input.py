"""Invalid input: a problem document that names each fault, and never a 500."""

import asyncio
import gzip
import json
import uuid
import zlib
from collections.abc import AsyncIterator, Mapping

import aiohttp
from multidict import CIMultiDict
from structlog.testing import capture_logs

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.fields import PROMPT_MAX_CHARACTERS
from schemas.http import Problem
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

CREATE = "/v1/generations"
JSON = {"Content-Type": "application/json"}

FIELDS = [
    ({"prompt": 5}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": " \n\u00a0\u2003"}, "prompt"),
    ({"prompt": "x" * 10_001}, "prompt"),
    ({"prompt": "x\x00"}, "prompt"),
    ({"prompt": {"a": []}}, "prompt"),
    ({}, "prompt"),
    ({"prompt": "x", "width": 1000}, "width"),
    ({"prompt": "x", "width": "512"}, "width"),
    ({"prompt": "x", "width": 512.5}, "width"),
    ({"prompt": "x", "height": 4096}, "height"),
    ({"prompt": "x", "seed": -1}, "seed"),
    ({"prompt": "x", "seed": 2**53}, "seed"),
    ({"prompt": "x", "seed": True}, "seed"),
    ({"prompt": "x", "colour": "red"}, "colour"),
    ({"prompt": "x", "provider": "nobody"}, "provider"),
    ({"prompt": "x", "model": ""}, "model"),
    ({"prompt": "x", "model": "nope"}, "model"),
    ({"prompt": "x", "model": "nope", "provider": "local"}, "model"),
    ([], "body"),
    (7, "body"),
    ("x", "body"),
]


async def test_bad_bodies_are_refused_by_the_name_of_the_field(user: Client) -> None:
    for body, field in FIELDS:
        status, _, found = await user.call("POST", CREATE, json=body)
        assert (status, found["code"]) == (422, "invalid_request"), body
        problem = Problem.model_validate(found)
        assert [each.field for each in problem.errors or ()] == [field]


BODIES: list[tuple[bytes, Mapping[str, str], int, str]] = [
    (b"", JSON, 400, "malformed_json"),
    (b"{", JSON, 400, "malformed_json"),
    (b"\xff\xfe", JSON, 400, "malformed_json"),
    (b'{"prompt": "\\ud800"}', JSON, 400, "malformed_json"),
    (b'{"prompt": NaN}', JSON, 400, "malformed_json"),
    (b"[" * 30_000 + b"]" * 30_000, JSON, 400, "malformed_json"),
    (b'{"prompt": "x", "seed": ' + b"9" * 5_000 + b"}", JSON, 400, "malformed_json"),
    (b'{"prompt": "x"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    (b'{"prompt": "x"}', {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    (b'{"prompt": "a", "prompt": "b"}', JSON, 422, "invalid_request"),
    (b'{"prompt": "x"}', {**JSON, "Content-Encoding": "br"}, 415, "unsupported_encoding"),
    (b'{"prompt": "x"}', {**JSON, "Content-Encoding": "foo"}, 415, "unsupported_encoding"),
    (b" " * 130_000, JSON, 413, "body_too_large"),
    (gzip.compress(b'{"prompt": "x"}')[:-1], {**JSON, "Content-Encoding": "gzip"}, 400, "malformed_body"),
    (gzip.compress(b" " * 10_000_000), {**JSON, "Content-Encoding": "gzip"}, 413, "body_too_large"),
    (b"not gzip", {**JSON, "Content-Encoding": "gzip"}, 400, "malformed_body"),
    (b'{"prompt": "x"}', {**JSON, "Idempotency-Key": ""}, 422, "invalid_request"),
    (b'{"prompt": "x"}', {**JSON, "Idempotency-Key": "k" * 256}, 422, "invalid_request"),
    (b'{"prompt": "x"}', {**JSON, "Idempotency-Key": "clé"}, 422, "invalid_request"),
]


async def test_bodies_that_are_none(user: Client) -> None:
    for body, headers, status, code in BODIES:
        answered, _, found = await user.call("POST", CREATE, data=body, headers=headers)
        assert (answered, found["code"]) == (status, code), (body[:80], headers)


async def test_the_longest_prompt_is_taken_however_it_is_written(user: Client) -> None:
    prompt = "\U0001f600" * PROMPT_MAX_CHARACTERS
    escaped = json.dumps({"prompt": prompt}).encode()
    packed = {**JSON, "Content-Encoding": "gzip"}
    for body, headers in (
        (escaped, JSON),
        (gzip.compress(escaped), packed),
        (zlib.compress(escaped), {**JSON, "Content-Encoding": "deflate"}),
    ):
        status, _, found = await user.call("POST", CREATE, data=body, headers=headers)
        assert (status, found["prompt"]) == (202, prompt)


async def test_refusals_of_a_body_name_the_remedy(user: Client) -> None:
    _, headers, _ = await user.call("POST", CREATE, data=b"{}", headers={**JSON, "Content-Encoding": "zstd"})
    assert headers["Accept-Encoding"] == "gzip, deflate"
    _, _, found = await user.call("POST", CREATE, data=b'{"a": [{"b": 1, "b": 2}], "prompt": "x"}', headers=JSON)
    assert [(each["field"], each["message"]) for each in found["errors"]] == [("a.0.b", "given more than once")]


async def test_a_body_that_comes_too_slowly_is_refused(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession
) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    impatient = settings.model_copy(update={"http_receive_timeout_s": 0.2})

    async def never_ends() -> AsyncIterator[bytes]:
        yield b'{"prompt":'
        await asyncio.Event().wait()

    async with serving(impatient, session) as base:
        user = Client(session, base, key)
        status, _, found = await user.call("POST", CREATE, data=never_ends(), headers=JSON)
    assert (status, found["code"]) == (408, "request_timeout")


QUERIES = [
    ("cursor=bm9uc2Vuc2U=", "cursor"),
    ("cursor=%C3%A9", "cursor"),
    ("cursor=MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSAwMTk1YjdhMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA=", "cursor"),
    ("cursor=MjAyNi0wMS0zMVQxMjowMDowMFogMDE5NWI3YTAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAw", "cursor"),  # with a Z
    ("cursor=", "cursor"),
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=ten", "limit"),
    ("limit=%D9%A1", "limit"),
    ("colour=red", "colour"),
    ("status=sleeping", "status"),
    ("status=", "status"),
    ("status=queued&status=failed", "status"),
    ("q=", "q"),
    ("q=%00", "q"),
    ("q=" + "x" * 201, "q"),
    ("provider=" + "x" * 101, "provider"),
    ("created_after=yesterday", "created_after"),
    ("created_after=2026-01-31T12:00:00", "created_after"),
    ("created_after=1795889820", "created_after"),
    ("created_after=2026-01-31", "created_after"),
    ("created_after=2026-01-31T12:00Z", "created_after"),
    ("created_after=0001-01-01T00:00:00%2B23:59", "created_after"),
    ("created_before=9999-12-31T23:59:59-23:59", "created_before"),
]


async def test_bad_queries_are_refused_by_the_name_of_the_parameter(user: Client) -> None:
    for query, field in QUERIES:
        status, _, found = await user.call("GET", f"{CREATE}?{query}")
        assert (status, found["code"]) == (422, "invalid_request"), query
        assert [each["field"] for each in found["errors"]] == [field], query


async def test_keys_ids_positions_and_places_that_are_none(user: Client) -> None:
    generation_id = await user.created()
    challenge = 'Bearer realm="gengui-stream"'
    for key in ("Bearer", "", "Basic eDp5", "Bearer clé"):
        status, headers, found = await user.call("GET", CREATE, headers={"Authorization": key})
        assert (status, found["code"], headers["WWW-Authenticate"]) == (401, "unauthorized", challenge), key
    for key in ("Bearer invalid", "Bearer gg_" + "x" * 5_000):
        status, headers, found = await user.call("GET", CREATE, headers={"Authorization": key})
        assert (status, headers["WWW-Authenticate"]) == (401, f'{challenge}, error="invalid_token"'), key
    for path in (f"{CREATE}/not-an-id", f"{CREATE}/{uuid.uuid4()}", f"{CREATE}/%00", "/nowhere", "/v1", f"{CREATE}/"):
        status, _, found = await user.call("GET", path)
        assert (status, found["code"]) == (404, "not_found"), path
    for position in ("soon", "0", "0:", "99:1", "-1:0", "0:1,1:1", "0:" + "9" * 30):
        status, _, found = await user.call("GET", f"{CREATE}/{generation_id}", headers={"Min-Position": position})
        assert (status, found["errors"][0]["field"]) == (422, "Min-Position"), position
    for cursor in ("x", "0:99999999999999999999", "99:1", "70000:1", ""):
        status, _, found = await user.call("GET", f"{CREATE}/{generation_id}/events?cursor={cursor}")
        assert (status, found["errors"][0]["field"]) == (422, "cursor"), cursor


async def test_an_id_has_one_form(user: Client) -> None:
    """RFC 9562 has one. A form that the document does not have would find the generation all the same."""
    plain = await user.created()
    for other in (f"urn:uuid:{plain}", f"%7B{plain}%7D", plain.replace("-", ""), f"-{plain}"):
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel"), ("DELETE", "")):
            status, _, found = await user.call(method, f"{CREATE}/{other}{path}")
            assert (status, found["code"]) == (404, "not_found"), (method, other, path)
    assert (await user.get(f"{CREATE}/{plain.upper()}"))["id"] == plain


async def test_a_header_with_one_meaning_is_refused_when_it_comes_twice(user: Client) -> None:
    generation_id = await user.created()
    one = f"{CREATE}/{generation_id}"
    twice = [
        ("POST", CREATE, "Idempotency-Key", ("a", "b")),
        ("POST", CREATE, "Idempotency-Key", ("a", "a")),
        ("GET", one, "Min-Position", ("0:0", "0:1")),
        ("GET", f"{one}/stream", "Last-Event-ID", ("beginning", "0:1")),
        ("GET", one, "Authorization", ("Basic eDp5", "Bearer x")),
    ]
    for method, path, name, values in twice:
        headers = CIMultiDict([("Content-Type", "application/json"), *((name, value) for value in values)])
        if name != "Authorization":
            headers.add("Authorization", f"Bearer {user.key}")
        async with user.session.request(method, user.base + path, data=b'{"prompt": "x"}', headers=headers) as answer:
            found = await answer.json()
        assert (answer.status, found["code"]) == (400, "repeated_header"), name
        assert found["detail"].startswith(f"{name}: "), found
    assert len((await user.get(CREATE))["data"]) == 1, "nothing was appended"


async def test_what_was_refused_is_in_the_log_by_the_id_that_the_client_quotes(user: Client) -> None:
    refused = [
        ("GET", f"{CREATE}/not-an-id", 404, "not_found"),
        ("GET", f"{CREATE}?limit=0", 422, "invalid_request"),
        ("POST", CREATE, 415, "unsupported_media_type"),
        ("POST", "/v1/worker/jobs/claim", 403, "forbidden"),
    ]
    for number, (method, path, expected, code) in enumerate(refused):
        with capture_logs() as logs:
            status, _, _ = await user.call(method, path, headers={"X-Request-ID": f"q-{number}"})
        [line] = [line for line in logs if line["event"] == "request_refused"]
        assert (status, line["status"], line["code"]) == (expected, expected, code)
        assert (line["correlation_id"], line["log_level"]) == (f"q-{number}", "info")
