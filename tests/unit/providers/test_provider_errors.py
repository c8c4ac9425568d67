"""Every row of the tables of errors, through a socket: what each answer of Gemini and RunPod means."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from gengui_stream.errors import TransientError
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.error_table import Row
from gengui_stream.providers.gemini.errors import ERRORS as GEMINI_ERRORS
from gengui_stream.providers.gemini.provider import GeminiProvider
from gengui_stream.providers.interface import FaultDomain, Provider, Refused
from gengui_stream.providers.output_store import OutputStore
from gengui_stream.providers.runpod.client import RunpodClient
from gengui_stream.providers.runpod.errors import ERRORS as RUNPOD_ERRORS
from gengui_stream.providers.runpod.errors import OWN
from gengui_stream.providers.runpod.policy import RunpodPlan
from gengui_stream.providers.runpod.provider import RunpodProvider
from gengui_stream.settings import load_settings
from gengui_stream.testing.object_store import InMemoryObjectStore
from tests.dispatches import a_dispatch

KEY: Final = "AIza-hunter2"
SECRET: Final = "a secret of webhooks"

Expected: TypeAlias = tuple[str, bool, FaultDomain]

REFUSAL: Final[Expected] = ("invalid_request", False, FaultDomain.REQUEST)
PERMANENT: Final[Expected] = ("provider_misconfigured", True, FaultDomain.CONFIGURATION)
LIMITED: Final[Expected] = ("rate_limited", True, FaultDomain.CAPACITY)
TRANSIENT: Final[Expected] = ("provider_error", True, FaultDomain.PROVIDER)
UNKNOWN: Final = None
"""The call may have been carried out."""

GEMINI: Final[Mapping[tuple[int, str, str], Expected]] = {
    (400, "INVALID_ARGUMENT", ""): REFUSAL,
    (400, "INVALID_ARGUMENT", "API_KEY_INVALID"): PERMANENT,
    (400, "FAILED_PRECONDITION", ""): PERMANENT,
    (400, "OUT_OF_RANGE", ""): REFUSAL,
    (401, "UNAUTHENTICATED", ""): PERMANENT,
    (402, "RESOURCE_EXHAUSTED", ""): PERMANENT,
    (403, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED"): PERMANENT,
    (404, "NOT_FOUND", ""): PERMANENT,
    (408, "", ""): TRANSIENT,
    (409, "ABORTED", ""): TRANSIENT,
    (409, "ALREADY_EXISTS", ""): REFUSAL,
    (413, "", ""): REFUSAL,
    (425, "", ""): TRANSIENT,
    (429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"): LIMITED,
    (499, "CANCELLED", ""): TRANSIENT,
    (500, "INTERNAL", ""): TRANSIENT,
    (501, "UNIMPLEMENTED", ""): PERMANENT,
    (501, "", ""): TRANSIENT,
    (502, "", ""): TRANSIENT,
    (503, "UNAVAILABLE", ""): TRANSIENT,
    (504, "DEADLINE_EXCEEDED", ""): TRANSIENT,
    (529, "", ""): TRANSIENT,
    (302, "", ""): TRANSIENT,
}
"""By status, status word and reason."""

RUNPOD: Final[Mapping[tuple[int, bool], Expected | None]] = {
    (400, True): REFUSAL,
    (401, False): PERMANENT,
    (402, True): PERMANENT,
    (403, True): PERMANENT,
    (404, True): PERMANENT,
    (405, False): REFUSAL,
    (408, True): TRANSIENT,
    (413, False): REFUSAL,
    (422, True): REFUSAL,
    (425, True): TRANSIENT,
    (429, True): LIMITED,
    (429, False): LIMITED,
    (500, True): TRANSIENT,
    (500, False): UNKNOWN,
    (502, True): UNKNOWN,
    (503, True): TRANSIENT,
    (503, False): UNKNOWN,
    (504, True): UNKNOWN,
    (520, True): UNKNOWN,
    (524, False): UNKNOWN,
    (530, True): UNKNOWN,
    (301, False): PERMANENT,
}
"""By status, and by whether the body is RunPod's own JSON."""


class AnsweringServer:
    """Answers each request with `status`, `body` and `headers`, and keeps the last request's body."""

    def __init__(self) -> None:
        self.status, self.body, self.url = 500, "", ""
        self.headers: dict[str, str] = {}
        self.sent = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.sent = await request.text()
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AnsweringServer]:
    found, app = AnsweringServer(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@asynccontextmanager
async def gemini(server: AnsweringServer) -> AsyncIterator[Provider]:
    settings = load_settings({"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": server.url}, env_files=())
    async with aiohttp.ClientSession() as http:
        yield GeminiProvider(settings, SecretStr(KEY), http, outputs(), new_metrics())


@asynccontextmanager
async def runpod(server: AnsweringServer) -> AsyncIterator[Provider]:
    given = {"RUNPOD_API_KEY": KEY, "RUNPOD_ENDPOINT_ID": "e1", "RUNPOD_BASE_URL": server.url}
    hooks = {"PUBLIC_URL": "https://gengui.example", "WEBHOOK_SECRET": SECRET}
    settings = load_settings({**given, **hooks}, env_files=())
    async with aiohttp.ClientSession() as http:
        client = RunpodClient(http, base_url=server.url, key=KEY, timeout_s=10)
        yield RunpodProvider(RunpodPlan.of(settings, "e1"), client, outputs())


def outputs() -> OutputStore:
    return OutputStore(object_store=InMemoryObjectStore(), max_bytes=1_000, max_pixels=1_000)


def google_error(status: int, word: str, reason: str, message: str = "as asked for") -> str:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return json.dumps({"error": {"code": status, "message": message, "status": word, "details": details}})


@pytest.mark.parametrize(("status", "word", "reason"), GEMINI, ids=str)
async def test_an_error_of_gemini(server: AnsweringServer, status: int, word: str, reason: str) -> None:
    server.status, server.body = status, google_error(status, word, reason)
    async with gemini(server) as provider:
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert (found.code, found.retryable, found.fault_domain) == GEMINI[status, word, reason]
    assert "as asked for" in found.message


@pytest.mark.parametrize(("status", "own"), RUNPOD, ids=str)
async def test_an_error_of_runpod(server: AnsweringServer, status: int, own: bool) -> None:
    server.status, server.body = status, '{"error": "as asked for"}' if own else "<h1>no</h1>"
    async with runpod(server) as provider:
        if RUNPOD[status, own] is UNKNOWN:
            with pytest.raises(TransientError):
                await provider.dispatch(a_dispatch())
            return
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert (found.code, found.retryable, found.fault_domain) == RUNPOD[status, own]
    assert ("as asked for" in found.message) is own


def test_every_row_has_its_case() -> None:
    hit = {first(GEMINI_ERRORS, status, {word, reason}) for status, word, reason in GEMINI}
    assert hit == set(GEMINI_ERRORS)
    hit = {first(RUNPOD_ERRORS, status, {OWN} if own else set()) for status, own in RUNPOD}
    assert hit == set(RUNPOD_ERRORS)


def first(table: tuple[Row, ...], status: int, words: set[str]) -> Row:
    return next(row for row in table if row.fits(status, words))


def test_every_status_has_a_row_and_every_row_a_source() -> None:
    for table in (GEMINI_ERRORS, RUNPOD_ERRORS):
        assert all(any(row.fits(status, ()) for row in table) for status in range(100, 600))
        assert all(row.source for row in table)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_pause_that_a_provider_asks_for_is_kept(server: AnsweringServer, status: int) -> None:
    server.status, server.headers = status, {"Retry-After": "7"}
    server.body = '{"error": "busy"}'
    for opened in (gemini, runpod):
        async with opened(server) as provider:
            found = await provider.dispatch(a_dispatch())
        assert isinstance(found, Refused)
        assert found.retry_after_s == 7.0


@pytest.mark.parametrize(
    "said",
    [
        {"error": "line one\nline \x1b[31mtwo\x00"},
        {"error": {"type": "ValidationError", "message": "line one\nline \x1b[31mtwo\x00"}},
        {"message": "line one\nline \x1b[31mtwo\x00"},
        {"errors": [], "detail": [{"message": "line one\nline \x1b[31mtwo\x00"}]},
    ],
)
async def test_the_words_of_runpod_reach_the_user_on_one_line(
    server: AnsweringServer, said: Mapping[str, object]
) -> None:
    server.status, server.body = 402, json.dumps(said)
    async with runpod(server) as provider:
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert found.message == (
        "RunPod rejects the API key, the account or the endpoint (HTTP 402): line one line [31mtwo"
    )


async def test_the_words_of_gemini_reach_the_user_on_one_line(server: AnsweringServer) -> None:
    message = "prepayment\n\x1b[31mcredits\x00 are depleted" + "." * 10_000
    server.status, server.body = 402, google_error(402, "RESOURCE_\x1bEXHAUSTED", "", message)
    async with gemini(server) as provider:
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert found.message.startswith("Gemini: 402 RESOURCE_ EXHAUSTED: prepayment [31mcredits are depleted...")
    assert len(found.message) < 600


async def test_what_a_server_echoes_shows_no_secret(server: AnsweringServer) -> None:
    server.status = 400
    server.body = google_error(400, "INVALID_ARGUMENT", "", f"the key {KEY.upper()} is odd")
    async with gemini(server) as provider:
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert found.message == "Gemini: 400 INVALID_ARGUMENT: the key … is odd"
    server.body = json.dumps({"error": f"the key {KEY} is odd"})
    async with runpod(server) as provider:
        found = await provider.dispatch(a_dispatch())
    assert isinstance(found, Refused)
    assert found.message == "RunPod refused the request (HTTP 400): the key *** is odd"


async def test_the_token_of_a_webhook_is_no_part_of_an_error(server: AnsweringServer) -> None:
    request = a_dispatch()
    server.status, server.body = 400, "{}"
    async with runpod(server) as provider:
        await provider.dispatch(request)
        url = json.loads(server.sent)["webhook"]
        server.body = json.dumps({"error": f"the webhook {url} cannot be called"})
        found = await provider.dispatch(request)
    assert isinstance(found, Refused)
    assert found.message.endswith("/v1/provider-webhooks/runpod/*** cannot be called")
