"""The provider `gemini` through real sockets: its requests, and the outcome of every response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import pytest_asyncio
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from gengui_stream.errors import TransientError
from gengui_stream.fakes.behaviours import Error
from gengui_stream.fakes.gemini.script import READY, GeminiBehaviour, GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.pictures import ImageType
from gengui_stream.fakes.scripts import Rule
from gengui_stream.media.inspection import ImageFacts, inspect_image
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import ObjectMissing, ObjectStore, open_object_store
from gengui_stream.metrics import Metrics
from gengui_stream.providers.gemini.provider import RESPONSE_MAX_BYTES
from gengui_stream.providers.interface import (
    CancelOutcome,
    DispatchOutcome,
    DispatchRequest,
    FaultDomain,
    Finished,
    Lost,
    Moderated,
    Provider,
    ProviderJob,
    Refused,
    Running,
)
from gengui_stream.providers.registry import opened_providers
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.settings import Settings, load_settings
from tests.dispatches import a_dispatch
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

KEY = "AIza-hunter2"
MODEL = "gemini-3.1-flash-image"
NONE_SENT = "http://127.0.0.1:1"


def a_request(attempt: int = 1, seed: int = 7, traceparent: str | None = None) -> DispatchRequest:
    return a_dispatch(attempt=attempt, seed=seed, width=1344, height=768, model=MODEL, traceparent=traceparent)


def small(*behaviours: GeminiBehaviour) -> GeminiScript:
    """Applied to every request, with small images."""
    rules = tuple(Rule[GeminiBehaviour](then=behaviour) for behaviour in behaviours)
    return GeminiScript(rules=rules, image_side_max=64)


def ready(name: str) -> GeminiScript:
    return READY[name].model_copy(update={"image_side_max": 64})


def job(age_s: float = 0) -> ProviderJob:
    return ProviderJob(dispatched_at=datetime.now(UTC) - timedelta(seconds=age_s))


@dataclass(frozen=True)
class Scene:
    """The provider as the registry opens it, its server, and its object store."""

    gemini: Provider
    server: GeminiServer
    store: ObjectStore
    metrics: Metrics

    async def after(self, name: str) -> DispatchOutcome:
        """The outcome of that ready script."""
        self.server.play(ready(name))
        return await self.gemini.dispatch(a_request())

    async def is_empty(self, request: DispatchRequest) -> bool:
        for mime_type in ("image/png", "image/jpeg", "image/webp"):
            try:
                await self.store.get(media_key(request.owner_id, request.generation_id, mime_type), 10**7)
            except ObjectMissing:
                continue
            return False
        return True


def with_gemini(settings: Settings, url: str, **changes: object) -> Settings:
    gemini = {"gemini_api_key": SecretStr(KEY), "gemini_base_url": url, "gemini_timeout_s": 30.0}
    return settings.model_copy(update=gemini | changes)


@asynccontextmanager
async def opened(settings: Settings, metrics: Metrics) -> AsyncIterator[tuple[Provider, ObjectStore]]:
    async with (
        opened_redis(settings) as redis,
        open_object_store(settings) as store,
        opened_providers(settings, redis, store, metrics) as providers,
    ):
        yield providers["gemini"], store


@asynccontextmanager
async def a_scene(settings: Settings, **changes: object) -> AsyncIterator[Scene]:
    metrics = Metrics(CollectorRegistry())
    async with (
        fake_gemini(small(), key=KEY) as server,
        opened(with_gemini(settings, server.url, **changes), metrics) as (gemini, store),
    ):
        yield Scene(gemini, server, store, metrics)


@pytest_asyncio.fixture
async def settings(stack: Mapping[str, str]) -> Settings:
    """Without database and topic, as a provider uses neither."""
    made = load_settings({**stack, "S3_BUCKET": "test-gemini"}, env_files=())
    async with open_object_store(made) as store:
        await store.ensure_bucket()
    return made


@pytest_asyncio.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with a_scene(settings) as made:
        yield made


async def test_without_a_key_there_is_no_such_provider(settings: Settings) -> None:
    async with (
        opened_redis(settings) as redis,
        open_object_store(settings) as store,
        opened_providers(settings, redis, store, Metrics(CollectorRegistry())) as providers,
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


async def test_every_error(scene: Scene) -> None:
    expected = {
        "invalid_argument": ("invalid_request", False, REQUEST, None),
        "api_key_invalid": ("provider_misconfigured", True, CONFIGURATION, None),
        "failed_precondition": ("provider_misconfigured", True, CONFIGURATION, None),
        "unauthenticated": ("provider_misconfigured", True, CONFIGURATION, None),
        "no_credit": ("provider_misconfigured", True, CONFIGURATION, None),
        "permission_denied": ("provider_misconfigured", True, CONFIGURATION, None),
        "not_found": ("provider_misconfigured", True, CONFIGURATION, None),
        "rate_limited": ("rate_limited", True, CAPACITY, 1.0),
        "rate_limited_silent": ("rate_limited", True, CAPACITY, None),
        "internal": ("provider_error", True, BROKEN, None),
        "bad_gateway": ("provider_error", True, BROKEN, None),
        "unavailable": ("provider_error", True, BROKEN, None),
        "error_in_a_list": ("provider_error", True, BROKEN, None),
        "deadline_exceeded": ("provider_error", True, BROKEN, None),
    }
    found: dict[str, object] = {}
    for name in expected:
        answer = await scene.after(name)
        assert isinstance(answer, Refused), name
        found[name] = (answer.code, answer.retryable, answer.fault_domain, answer.retry_after_s)
    assert found == expected


async def test_200_without_an_image(scene: Scene) -> None:
    moderated = ("moderated", "prohibited", "recitation", "blocked")
    assert [type(await scene.after(name)) for name in moderated] == [Moderated] * 4
    expected = {
        **dict.fromkeys(("no_image", "image_other", "max_tokens", "text_only", "drafts_only"), ("no_image", REQUEST)),
        **dict.fromkeys(("html", "half_body", "not_base64", "empty_image"), ("bad_answer", BROKEN)),
        **dict.fromkeys(("not_an_image", "truncated_image", "document"), ("bad_image", BROKEN)),
    }
    found: dict[str, object] = {}
    for name in expected:
        scene.server.play(ready(name))
        request = a_request()
        answer = await scene.gemini.dispatch(request)
        assert isinstance(answer, Refused), name
        assert answer.retryable
        assert await scene.is_empty(request), name
        found[name] = (answer.code, answer.fault_domain)
    assert found == expected


@pytest.mark.parametrize("name", ["reset", "reset_after_work"])
async def test_a_lost_call_may_be_running(scene: Scene, name: str) -> None:
    with pytest.raises(TransientError):
        await scene.after(name)


async def test_so_may_one_that_is_not_answered_in_time(settings: Settings) -> None:
    async with a_scene(settings, gemini_timeout_s=1.0) as scene:
        with pytest.raises(TransientError):
            await scene.after("hang")
        answer = await scene.after("slow")  # Google gives it up by itself
        assert isinstance(answer, Refused)
        assert (answer.code, answer.fault_domain) == ("provider_error", BROKEN)


async def test_a_connection_that_was_refused_sent_nothing(settings: Settings) -> None:
    async with opened(with_gemini(settings, NONE_SENT), Metrics(CollectorRegistry())) as (gemini, _):
        answer = await gemini.dispatch(a_request())
    assert isinstance(answer, Refused)
    assert (answer.code, answer.retryable, answer.fault_domain) == ("provider_unreachable", True, BROKEN)


async def test_a_wrong_key_is_a_configuration_fault_and_no_key_is_disclosed(settings: Settings) -> None:
    with capture_logs() as logs:
        async with a_scene(settings, gemini_api_key=SecretStr("hunter3")) as scene:
            refused = await scene.gemini.dispatch(a_request())
            assert isinstance(refused, Refused)
            assert refused.fault_domain is CONFIGURATION
            scene.server.play(small(Error(status=500, word="hunter3", message="the key hunter3 is odd\x00")))
            echoed = await scene.gemini.dispatch(a_request())
            assert isinstance(echoed, Refused)
            shown = f"{refused!r} {echoed!r} {scene.gemini!r} {vars(scene.gemini)!r} {logs!r}"
    assert "hunter3" not in shown.lower()


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server with the same response to everything; yields the base URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_key_goes_to_no_other_server(settings: Settings) -> None:
    asked: list[str | None] = []

    async def elsewhere(http: web.Request) -> web.StreamResponse:
        asked.append(http.headers.get("x-goog-api-key"))
        return web.json_response({})

    async with serving(elsewhere) as other:

        async def moved(http: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{other}/v1beta/models/x:generateContent"})

        async with (
            serving(moved) as url,
            opened(with_gemini(settings, url), Metrics(CollectorRegistry())) as (gemini, _),
        ):
            answer = await gemini.dispatch(a_request())
    assert isinstance(answer, Refused)
    assert (answer.code, answer.retryable) == ("provider_error", True)
    assert asked == []


async def test_an_endless_answer_is_not_read_to_its_end(settings: Settings) -> None:
    sent = 0
    chunk = b" " * 1024 * 1024

    async def endless(http: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(http)
        while sent < 3 * RESPONSE_MAX_BYTES:
            await response.write(chunk)
            sent += len(chunk)
        return response

    async with serving(endless) as url, opened(with_gemini(settings, url), Metrics(CollectorRegistry())) as (gemini, _):
        answer = await gemini.dispatch(a_request())
    assert isinstance(answer, Refused)
    assert answer.code == "bad_answer"
    assert sent < 2 * RESPONSE_MAX_BYTES


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


async def test_a_retiring_model_is_measured_each_time_and_logged_once(scene: Scene) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            assert isinstance(await scene.after("retiring"), Finished)
    [said] = [entry for entry in logs if entry["event"] == "model_retires"]
    assert (said["provider"], said["model"], said["log_level"]) == ("gemini", MODEL, "warning")
    at = datetime(2026, 10, 2, tzinfo=UTC).timestamp()
    labels = {"provider": "gemini", "model": MODEL}
    name = "gengui_model_retirement_timestamp_seconds"
    assert scene.metrics.registry.get_sample_value(name, labels) == at


async def test_a_store_that_refuses_is_not_paid_for_again(settings: Settings) -> None:
    wrong = settings.model_copy(update={"aws_secret_access_key": SecretStr("wrong")})
    async with a_scene(wrong) as scene:
        answer = await scene.gemini.dispatch(a_request())
    assert isinstance(answer, Refused)
    assert (answer.code, answer.retryable, answer.fault_domain) == ("not_stored", False, REQUEST)


async def test_models_are_data(settings: Settings) -> None:
    async with a_scene(settings, gemini_model="gemini-3-pro-image,gemini-4") as scene:
        assert scene.gemini.capabilities.models == ("gemini-3-pro-image", "gemini-4")
        assert [scene.gemini.model_for(asked) for asked in ("gemini-4", "local-sketch")] == [
            "gemini-4",
            "gemini-3-pro-image",
        ]
