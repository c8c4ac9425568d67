"""The provider `gemini` through real sockets: its requests, and the outcome of every response."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from prometheus_client import CollectorRegistry

from gengui_stream.fakes.gemini.script import Images
from gengui_stream.fakes.pictures import ImageType
from gengui_stream.media.inspection import ImageFacts, inspect_image
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import Metrics
from gengui_stream.providers.interface import (
    CancelOutcome,
    FaultDomain,
    Finished,
    Lost,
    ProviderJob,
    Running,
)
from gengui_stream.providers.registry import opened_providers
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings
from tests.integration.providers.gemini.conftest import (
    Scene,
    a_request,
    a_scene,
    ready,
    small,
)
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


def job(age_s: float = 0) -> ProviderJob:
    return ProviderJob(dispatched_at=datetime.now(UTC) - timedelta(seconds=age_s))


async def test_without_a_key_there_is_no_such_provider(settings: Settings) -> None:
    async with (
        opened_client(settings) as redis,
        open_object_store(settings) as store,
        opened_providers(settings, shared(redis), store, Metrics(CollectorRegistry())) as providers,
    ):
        assert "gemini" not in providers


async def test_an_image_is_in_our_store_before_the_attempt_has_finished(scene: Scene) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = a_request(attempt=2, seed=2**53 - 1, traceparent=trace)
    found = await scene.gemini.dispatch(request)
    assert isinstance(found, Finished)
    [output] = found.outputs
    body = await scene.store.get(output.object_key, 10**7)
    assert output.object_key == media_key(request.owner_id, request.generation_id, "image/png")
    assert (output.id, output.mime_type, output.bytes) == ("0", "image/png", len(body))
    assert output.sha256 == sha256(body).hexdigest()
    assert inspect_image(body, 10**7) == ImageFacts("image/png", output.width or 0, output.height or 0)
    [call] = scene.server.calls
    assert call.headers["x-request-id"] == f"{request.generation_id}/2"
    assert call.headers["x-server-timeout"] == "30"
    assert call.headers["traceparent"] == trace
    assert call.body == {
        "contents": [{"role": "user", "parts": [{"text": "a red fox"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "1K"},
            "seed": 2**31 - 1,
            "candidateCount": 1,
        },
    }


@pytest.mark.parametrize(
    ("name", "mime_types"),
    [
        ("jpeg", ["image/jpeg"]),
        ("mislabelled", ["image/jpeg"]),
        ("drafts", ["image/png"]),
        ("several_images", ["image/png"] * 3),
    ],
)
async def test_every_image_but_drafts_by_what_its_bytes_are(scene: Scene, name: str, mime_types: list[str]) -> None:
    scene.server.play(ready(name))
    request = a_request()
    found = await scene.gemini.dispatch(request)
    assert isinstance(found, Finished)
    assert [output.mime_type for output in found.outputs] == mime_types
    for number, output in enumerate(found.outputs):
        assert output.id == str(number)
        body = await scene.store.get(output.object_key, 10**7)
        assert inspect_image(body, 10**7) == ImageFacts(mime_types[number], output.width or 0, output.height or 0)
    assert await scene.gemini.get_status(request, job()) == found, "a look finds the same"


REQUEST, CONFIGURATION, CAPACITY, BROKEN = (
    FaultDomain.REQUEST,
    FaultDomain.CONFIGURATION,
    FaultDomain.CAPACITY,
    FaultDomain.PROVIDER,
)


async def test_as_many_calls_at_once_as_the_settings_allow(settings: Settings) -> None:
    """More than the default connection limit of an HTTP client."""
    async with a_scene(settings, gemini_calls_at_once=110) as scene:
        assert scene.gemini.call_policy.max_concurrency == 110
        scene.server.play(ready("hang"))
        calls = [asyncio.ensure_future(scene.gemini.dispatch(a_request())) for _ in range(110)]

        async def all_there() -> bool:
            return len(scene.server.runs.now) == 110

        try:
            await eventually(all_there)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "image/webp"])
async def test_a_look_finds_what_was_stored(scene: Scene, mime_type: ImageType) -> None:
    request = a_request()
    scene.server.play(small(Images(mime_type=mime_type)))
    found = await scene.gemini.dispatch(request)
    long_ago = await scene.gemini.get_status(request, job(age_s=10_000))
    assert long_ago == found
    assert isinstance(found, Finished)
    assert found.outputs[0].mime_type == mime_type


async def test_a_look_that_finds_nothing_waits_for_as_long_as_the_call_may_last(scene: Scene) -> None:
    request, lasts = a_request(), scene.gemini.call_policy.in_doubt_s
    assert lasts >= 30
    assert isinstance(await scene.gemini.get_status(request, job()), Running)
    assert isinstance(await scene.gemini.get_status(request, job(age_s=lasts + 1)), Lost)
    begun_late = ProviderJob(dispatched_at=job(age_s=lasts + 1).dispatched_at, started_at=datetime.now(UTC))
    assert isinstance(await scene.gemini.get_status(request, begun_late), Running)
    key = media_key(request.owner_id, request.generation_id, "image/png")
    await scene.store.put(key, b"no image at all", "image/png")
    assert isinstance(await scene.gemini.get_status(request, job(age_s=lasts + 1)), Lost)
    assert await scene.gemini.cancel(request, job()) is CancelOutcome.ALREADY_ENDED
    assert not scene.gemini.capabilities.cancel
    assert scene.server.calls == []


async def test_models_are_data(settings: Settings) -> None:
    async with a_scene(settings, gemini_model="gemini-3-pro-image,gemini-4") as scene:
        assert scene.gemini.capabilities.models == ("gemini-3-pro-image", "gemini-4")
        assert [scene.gemini.model_for(asked) for asked in ("gemini-4", "local-sketch")] == [
            "gemini-4",
            "gemini-3-pro-image",
        ]
