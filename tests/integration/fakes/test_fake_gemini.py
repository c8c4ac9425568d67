"""The fake of Gemini through its socket: every behaviour as a client sees it."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession, ClientTimeout
from PIL import Image, UnidentifiedImageError

from gengui_stream.errors import ConfigurationError
from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import parse_script
from tests.integration.running import eventually

MODEL = "gemini-3.1-flash-image"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    def at(self, *path: str | int) -> object:
        """What lies at that place of the body."""
        found: object = orjson.loads(self.text)
        for step in path:
            match found, step:
                case dict(), str():
                    found = found[step]
                case list(), int():
                    found = found[step]
                case _:
                    raise AssertionError(f"no {step!r} in {found!r}")
        return found

    @property
    def parts(self) -> list[dict[str, object]]:
        parts = self.at("candidates", 0, "content", "parts")
        assert isinstance(parts, list)
        return parts


class Client:
    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def ask(
        self,
        server: GeminiServer,
        prompt: str = "a red fox",
        *,
        model: str = MODEL,
        config: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        key: str = "k",
        within_s: float = 20,
    ) -> Answer:
        body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config or {}}
        return await self.post(server, orjson.dumps(body), model=model, headers=headers, key=key, within_s=within_s)

    async def post(
        self,
        server: GeminiServer,
        body: bytes,
        *,
        model: str = MODEL,
        headers: dict[str, str] | None = None,
        key: str = "k",
        within_s: float = 20,
    ) -> Answer:
        named = {**({"x-goog-api-key": key} if key else {}), "Content-Type": "application/json", **(headers or {})}
        url = f"{server.url}/v1beta/models/{model}:generateContent"
        async with self.session.post(url, data=body, headers=named, timeout=ClientTimeout(within_s)) as response:
            return Answer(response.status, dict(response.headers), await response.text())


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session)


def small(script: GeminiScript) -> GeminiScript:
    return script.model_copy(update={"image_side_max": 64})


@asynccontextmanager
async def playing(name: str) -> AsyncIterator[GeminiServer]:
    async with fake_gemini(small(READY[name])) as server:
        yield server


def image(part: object) -> Image.Image:
    assert isinstance(part, dict)
    found = Image.open(io.BytesIO(base64.b64decode(part["inlineData"]["data"], validate=True)))
    found.load()
    return found


async def test_an_image_is_real_and_the_same_for_the_same_seed(client: Client) -> None:
    async with playing("calm") as server:
        answers = [await client.ask(server, config={"seed": seed}) for seed in (7, 7, 8)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].at("candidates", 0, "finishReason") == "STOP"
    assert answers[0].at("modelVersion") == MODEL
    first, again, other = (image(answer.parts[0]) for answer in answers)
    assert first.format == "PNG"
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspectRatio": "16:9"}, (1344, 768)),
        ({"aspectRatio": "2:3", "imageSize": "2K"}, (1664, 2496)),
    ],
)
async def test_sizes_are_those_of_the_ratio(client: Client, config: dict[str, object], size: tuple[int, int]) -> None:
    async with fake_gemini() as server:
        answer = await client.ask(server, config={"responseModalities": ["IMAGE"], "imageConfig": config})
    assert image(answer.parts[0]).size == size


async def test_images_of_every_kind(client: Client) -> None:
    async with playing("several_images") as server:
        several = (await client.ask(server)).parts
        server.play(small(READY["drafts"]))
        drafts = (await client.ask(server)).parts
        server.play(small(READY["jpeg"]))
        jpeg = (await client.ask(server)).parts
        server.play(small(READY["mislabelled"]))
        mislabelled = (await client.ask(server)).parts
        server.play(small(READY["retiring"]))
        retiring = await client.ask(server)
    assert len({image(part).tobytes() for part in several}) == 3
    assert [(part.get("thought", False), "inlineData" in part) for part in drafts] == [
        (True, False),
        (True, True),
        (True, True),
        (False, True),
    ]
    assert image(drafts[1]).tobytes() != image(drafts[3]).tobytes()
    assert image(jpeg[0]).format == image(mislabelled[0]).format == "JPEG"
    declared = mislabelled[0]["inlineData"]
    assert isinstance(declared, dict)
    assert declared["mimeType"] == "image/png"
    assert retiring.at("modelStatus") == {"modelStage": "DEPRECATED", "retirementTime": "2026-10-02T00:00:00Z"}
    assert image(retiring.parts[0]).format == "PNG"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("moderated", "IMAGE_SAFETY"),
        ("prohibited", "PROHIBITED_CONTENT"),
        ("recitation", "IMAGE_RECITATION"),
        ("no_image", "NO_IMAGE"),
        ("image_other", "IMAGE_OTHER"),
        ("max_tokens", "MAX_TOKENS"),
    ],
)
async def test_200_without_an_image_has_a_reason(client: Client, name: str, reason: str) -> None:
    async with playing(name) as server:
        answer = await client.ask(server)
    candidate = answer.at("candidates", 0)
    assert isinstance(candidate, dict)
    assert (answer.status, candidate["finishReason"]) == (200, reason)
    assert "content" not in candidate


async def test_a_blocked_prompt_has_no_candidates(client: Client) -> None:
    async with playing("blocked") as server:
        answer = await client.ask(server)
    assert answer.at("promptFeedback", "blockReason") == "PROHIBITED_CONTENT"
    assert answer.at("candidates") == []


async def test_text_or_drafts_may_be_all_there_is(client: Client) -> None:
    async with playing("text_only") as server:
        (text,) = (await client.ask(server)).parts
        server.play(small(READY["drafts_only"]))
        (draft,) = (await client.ask(server)).parts
    assert list(text) == ["text"]
    assert draft["thought"] is True
    assert image(draft).format == "PNG"


@pytest.mark.parametrize("name", ["not_an_image", "truncated_image", "empty_image", "document", "not_base64"])
async def test_an_image_part_may_have_no_image(client: Client, name: str) -> None:
    async with playing(name) as server:
        answer = await client.ask(server)
    assert answer.at("candidates", 0, "finishReason") == "STOP"
    with pytest.raises((UnidentifiedImageError, OSError, ValueError)):
        image(answer.parts[0])


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
        {"rules": [{"then": {"do": "half_body", "seconds": 1.5}}], "image_side_max": 64}
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


async def test_runs_are_seen_across_servers(client: Client) -> None:
    runs = Runs()
    script = parse_script(GeminiScript, b'{"rules": [{"then": {"do": "images", "seconds": 1}}], "image_side_max": 64}')
    async with fake_gemini(script, runs=runs) as one, fake_gemini(script, runs=runs) as other:
        await asyncio.gather(client.ask(one, "same"), client.ask(other, "same"), client.ask(one, "different"))
    assert runs.overlaps == {"same": 2}


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


async def test_models_can_be_queried(client: Client) -> None:
    async with playing("calm") as server:
        url, key = f"{server.url}/v1beta/models", {"x-goog-api-key": "k"}
        async with client.session.get(f"{url}/{MODEL}", headers=key) as response:
            found = await response.json()
        async with client.session.get(f"{url}/gemini-1", headers=key) as response:
            assert response.status == 404
    assert (found["name"], "generateContent" in found["supportedGenerationMethods"]) == (f"models/{MODEL}", True)
    assert [call.operation for call in server.calls] == ["model", "model"]


async def test_a_script_can_be_changed_over_http(client: Client) -> None:
    async with playing("calm") as server:
        await client.ask(server)
        script = {"rules": [{"when": {"nth": 1}, "then": "moderated"}], "image_side_max": 64}
        async with client.session.put(f"{server.url}/_fake/script", json=script) as response:
            assert response.status == 200
        async with client.session.put(f"{server.url}/_fake/script", json={"rules": [{"then": "x"}]}) as response:
            assert response.status == 422
            assert "no behaviour is called 'x'" in (await response.json())["faults"][0]
        async with client.session.get(f"{server.url}/_fake/script") as response:
            assert (await response.json())["rules"][0]["then"]["finish_reason"] == "IMAGE_SAFETY"
        first, second = await client.ask(server), await client.ask(server)
    assert first.at("candidates", 0, "finishReason") == "IMAGE_SAFETY"
    assert second.at("candidates", 0, "finishReason") == "STOP"


async def test_what_was_called_can_be_read_over_http(client: Client) -> None:
    async with fake_gemini(small(READY["unavailable"]), seed=9) as server:
        await client.ask(server, "a prompt", headers={"X-Request-ID": "11111111-1111-4111-8111-111111111111"})
        async with client.session.get(f"{server.url}/_fake/calls") as response:
            record = await response.json()
    (call,) = record["calls"]
    assert (record["seed"], record["overlaps"], record["running"]) == (9, {}, {})
    expected = {"operation": "generate", "prompt": "a prompt", "nth": 1, "rule": 0, "did": "error", "status": 503}
    assert {name: call[name] for name in expected} == expected
    assert call["headers"]["x-request-id"] == call["generation"]
    assert call["generation"] == "11111111-1111-4111-8111-111111111111"
    assert call["body"]["contents"][0]["parts"] == [{"text": "a prompt"}]


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
