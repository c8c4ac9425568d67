"""The fake Gemini when something goes wrong: refusals, half answers, lost connections, and slow work."""

import asyncio
from uuid import uuid4

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError

from gengui_stream.errors import ConfigurationError
from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import parse_script
from tests.integration.fakes.gemini.conftest import Client, playing, small
from tests.integration.running import eventually


@pytest.mark.parametrize(
    ("name", "status", "word"),
    [
        ("invalid_argument", 400, "INVALID_ARGUMENT"),
        ("failed_precondition", 400, "FAILED_PRECONDITION"),
        ("unauthenticated", 401, "UNAUTHENTICATED"),
        ("no_credit", 402, "RESOURCE_EXHAUSTED"),
        ("permission_denied", 403, "PERMISSION_DENIED"),
        ("not_found", 404, "NOT_FOUND"),
        ("rate_limited_silent", 429, "RESOURCE_EXHAUSTED"),
        ("internal", 500, "INTERNAL"),
        ("unavailable", 503, "UNAVAILABLE"),
        ("deadline_exceeded", 504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_errors_have_googles_shape(client: Client, name: str, status: int, word: str) -> None:
    async with playing(name) as server:
        answer = await client.ask(server)
    assert (answer.status, answer.at("error", "code"), answer.at("error", "status")) == (status, status, word)
    assert "Retry-After" not in answer.headers
    assert "details" not in answer.text


async def test_errors_with_details(client: Client) -> None:
    async with playing("rate_limited") as server:
        limited = await client.ask(server)
        server.play(small(READY["api_key_invalid"]))
        key = await client.ask(server)
        server.play(small(READY["error_in_a_list"]))
        listed = await client.ask(server)
    assert limited.headers["Retry-After"] == "1"
    assert limited.at("error", "details", 0) == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "1s",
    }
    assert (key.status, key.at("error", "details", 0, "reason")) == (400, "API_KEY_INVALID")
    assert (listed.status, listed.at(0, "error", "code")) == (503, 503)


async def test_pages_for_people(client: Client) -> None:
    async with playing("html") as server:
        fine = await client.ask(server)
        server.play(small(READY["bad_gateway"]))
        gateway = await client.ask(server)
    assert (fine.status, gateway.status) == (200, 502)
    assert all(answer.headers["Content-Type"].startswith("text/html") for answer in (fine, gateway))


async def test_half_a_body(client: Client) -> None:
    async with playing("half_body") as server:
        with pytest.raises(ClientPayloadError):
            await client.ask(server)
        assert (await eventually_ended(server))["status"] == 200


async def test_half_a_body_for_a_client_that_has_left(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    script = GeminiScript.model_validate(
        {"rules": [{"then": {"do": "half_body", "seconds": 3.0}}], "image_side_max": 64}
    )
    async with fake_gemini(script) as server:
        with pytest.raises(TimeoutError):
            await client.ask(server, within_s=1)
        await eventually_ended(server)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_reset_before_and_after_the_work(client: Client) -> None:
    async with playing("reset") as server:
        with pytest.raises(ClientConnectionError):
            await client.ask(server)
        server.play(small(READY["reset_after_work"]))
        with pytest.raises(ClientConnectionError):
            await client.ask(server)
    assert [(call.did, call.status) for call in server.calls] == [("reset", None)] * 2


async def test_no_answer_ever(client: Client) -> None:
    async with playing("hang") as server:
        with pytest.raises(TimeoutError):
            await client.ask(server, within_s=1)
        assert (await eventually_ended(server))["status"] is None


async def test_the_server_stops_while_a_client_waits(client: Client) -> None:
    async with playing("hang") as server:
        asking = asyncio.ensure_future(client.ask(server))
        await eventually(lambda: looked(bool(server.calls)))
    with pytest.raises(ClientConnectionError):
        await asking


async def test_a_slow_answer_comes_late_and_within_the_clients_timeout(client: Client) -> None:
    script = parse_script(
        GeminiScript, b'{"rules": [{"then": {"do": "images", "seconds": 0.4}}], "image_side_max": 64}'
    )
    async with fake_gemini(script) as server:
        late = await client.ask(server)
        dropped = await client.ask(server, headers={"X-Server-Timeout": "0.1"})
    waited = [(call.ended_at or 0) - call.at for call in server.calls]
    assert late.status == 200
    assert waited[0] >= 0.4
    assert (dropped.status, dropped.at("error", "status")) == (504, "DEADLINE_EXCEEDED")


async def test_work_continues_after_its_client_disconnected(client: Client) -> None:
    """A client that asks again too early has two of a generation running, and the server tells on it."""
    generation, script = uuid4(), GeminiScript.model_validate({"rules": [{"then": "hang"}]})
    async with fake_gemini(script) as server:
        for attempt in (1, 2):
            headers = {"X-Request-ID": f"{generation}/{attempt}", "X-Server-Timeout": "30"}
            with pytest.raises(TimeoutError):
                await client.ask(server, headers=headers, within_s=1)
        assert server.overlaps == {str(generation): 2}
    assert [(call.generation, call.attempt) for call in server.calls] == [(str(generation), n) for n in (1, 2)]


async def test_work_that_may_be_dropped_ends_at_the_clients_timeout(client: Client) -> None:
    async with playing("hang") as server:
        with pytest.raises(TimeoutError):
            await client.ask(server, headers={"X-Server-Timeout": "0.2"}, within_s=0.1)
        await eventually(lambda: looked(not server.runs.now))
        with pytest.raises(TimeoutError):
            await client.ask(server, headers={"X-Server-Timeout": "0.2"}, within_s=0.1)
        assert server.overlaps == {}


async def test_the_key_then_the_model_are_looked_at(client: Client) -> None:
    async with fake_gemini(small(READY["calm"]), key="right") as server:
        none = await client.ask(server, key="")
        wrong = await client.ask(server, key="wrong", model="imagen-4.0-generate-001")
        retired = await client.ask(server, key="right", model="imagen-4.0-generate-001")
        right = await client.ask(server, key="right")
    assert (none.status, none.at("error", "status")) == (403, "PERMISSION_DENIED")
    assert (wrong.status, wrong.at("error", "details", 0, "reason")) == (400, "API_KEY_INVALID")
    assert (retired.status, retired.at("error", "status")) == (404, "NOT_FOUND")
    assert right.status == 200
    assert all("goog-api-key" not in name for call in server.calls for name in call.headers)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "body"),
        (b"{}", "contents"),
        (b'{"contents": [{"parts": []}]}', "contents.0.parts"),
        (b'{"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}]}', "no text"),
        (b'{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"width": 512}}', "generationConfig.width"),
        (
            b'{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"imageConfig": {"aspectRatio": "1:3"}}}',
            "generationConfig.imageConfig.aspectRatio",
        ),
        (b'{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"seed": 4294967296}}', "seed"),
        (b'{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"personGeneration": "x"}}', "personGen"),
    ],
)
async def test_a_request_that_google_would_not_take_is_refused(client: Client, body: bytes, named: str) -> None:
    async with playing("calm") as server:
        answer = await client.post(server, body)
    assert (answer.status, answer.at("error", "status")) == (400, "INVALID_ARGUMENT")
    assert named in str(answer.at("error", "message"))


async def test_a_port_in_use_is_an_error() -> None:
    async with playing("calm") as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with fake_gemini(port=port):
                pass


async def looked(found: bool) -> bool:
    return found


async def eventually_ended(server: GeminiServer) -> dict[str, object]:
    call = server.calls[-1]
    await eventually(lambda: looked(call.ended_at is not None))
    return {"status": call.status}
