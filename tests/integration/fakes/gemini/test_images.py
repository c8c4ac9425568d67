"""The fake of Gemini through its socket: every behaviour as a client sees it."""

import asyncio
import base64
import io

import pytest
from PIL import Image, UnidentifiedImageError

from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.fakes.scripts import parse_script
from tests.integration.fakes.gemini.conftest import MODEL, Client, playing, small


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


async def test_runs_are_seen_across_servers(client: Client) -> None:
    runs = Runs()
    script = parse_script(GeminiScript, b'{"rules": [{"then": {"do": "images", "seconds": 1}}], "image_side_max": 64}')
    async with fake_gemini(script, runs=runs) as one, fake_gemini(script, runs=runs) as other:
        await asyncio.gather(client.ask(one, "same"), client.ask(other, "same"), client.ask(one, "different"))
    assert runs.overlaps == {"same": 2}


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
