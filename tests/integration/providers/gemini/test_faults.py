"""The provider Gemini when a call fails, is lost, or must not be made."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from gengui_stream.errors import TransientError
from gengui_stream.fakes.behaviours import Error
from gengui_stream.metrics import Metrics
from gengui_stream.providers.gemini.provider import RESPONSE_MAX_BYTES
from gengui_stream.providers.interface import (
    FaultDomain,
    Finished,
    Moderated,
    Refused,
)
from gengui_stream.settings import Settings
from tests.integration.providers.gemini.conftest import (
    MODEL,
    Scene,
    a_request,
    a_scene,
    opened,
    ready,
    small,
    with_gemini,
)

REQUEST, CONFIGURATION, CAPACITY, BROKEN = (
    FaultDomain.REQUEST,
    FaultDomain.CONFIGURATION,
    FaultDomain.CAPACITY,
    FaultDomain.PROVIDER,
)

pytestmark = pytest.mark.stack


NONE_SENT = "http://127.0.0.1:1"


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
        **dict.fromkeys(("no_image", "image_other", "max_tokens", "text_only"), ("no_image", REQUEST)),
        **dict.fromkeys(("html", "half_body", "not_base64", "empty_image"), ("bad_answer", BROKEN)),
        **dict.fromkeys(("not_an_image", "truncated_image", "document"), ("bad_image", BROKEN)),
    }
    found: dict[str, object] = {}
    for name in expected:
        scene.server.play(ready(name))
        request = a_request()
        answer = await scene.gemini.dispatch(request)
        assert isinstance(answer, Refused), name
        assert answer.retryable is (name != "text_only")
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
