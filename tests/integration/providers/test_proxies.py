"""Every client of HTTP uses the proxy of the environment, and none for this machine."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import new_metrics
from gengui_stream.process.proxies import keep_local_direct
from gengui_stream.providers.flags.provider_flags import open_flags
from gengui_stream.providers.registry import opened_providers
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings, load_settings
from gengui_stream.worker.transports import open_http_transport
from schemas.events import GenerationStarted
from tests.dispatches import a_dispatch
from tests.events import wide_history

NAMES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
WITHIN: Final = {
    "GEMINI_API_KEY": "k",
    "RUNPOD_API_KEY": "k",
    "RUNPOD_ENDPOINT_ID": "e",
    "GROWTHBOOK_CLIENT_KEY": "sdk-1",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "s",
}


class Proxy:
    """Answers 503, and keeps the hosts that it was asked for."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.hosts.add(request.url.host or "")
        return web.Response(status=503)


@pytest_asyncio.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    found, app = Proxy(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", found.url)
    monkeypatch.setenv("http_proxy", found.url)
    yield found
    await runner.cleanup()


async def _provider(name: str, settings: Settings) -> None:
    async with (
        opened_client(settings) as client,
        open_object_store(settings, tries=1) as store,
        opened_providers(settings, shared(client), store, new_metrics()) as providers,
    ):
        await providers[name].dispatch(a_dispatch())


async def _flags(settings: Settings) -> None:
    async with open_flags(settings, ("local",)):
        pass


async def _store(settings: Settings) -> None:
    async with open_object_store(settings, tries=1) as store:
        await store.get("k", 10)


async def _worker(settings: Settings) -> None:
    async with open_http_transport("http://api.example.test", "k") as transport:
        await transport.publish([event for event in wide_history(0) if isinstance(event, GenerationStarted)])


CLIENTS: Final[Mapping[str, tuple[Mapping[str, str], Callable[[Settings], Awaitable[None]]]]] = {
    "gemini.example.test": (
        {"GEMINI_BASE_URL": "http://gemini.example.test"},
        lambda settings: _provider("gemini", settings),
    ),
    "runpod.example.test": (
        {"RUNPOD_BASE_URL": "http://runpod.example.test"},
        lambda settings: _provider("runpod", settings),
    ),
    "flags.example.test": ({"GROWTHBOOK_API_HOST": "http://flags.example.test"}, _flags),
    "store.example.test": ({"S3_ENDPOINT": "http://store.example.test"}, _store),
    "api.example.test": ({}, _worker),
}


@pytest.mark.parametrize("host", CLIENTS)
async def test_every_client_uses_the_proxy(host: str, proxy: Proxy) -> None:
    environ, call = CLIENTS[host]
    with suppress(TransientError, PermanentError):
        await call(load_settings({**WITHIN, **environ}, env_files=()))
    assert host in proxy.hosts


@pytest.mark.parametrize("host", CLIENTS)
async def test_none_uses_it_for_hosts_of_no_proxy(host: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "example.test")
    environ, call = CLIENTS[host]
    with suppress(TransientError, PermanentError):
        await call(load_settings({**WITHIN, **environ}, env_files=()))
    assert host not in proxy.hosts


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a, b,localhost"}, "a,b,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,localhost,127.0.0.1,::1"),
    ],
)
def test_this_machine_is_never_asked_for_through_a_proxy(given: dict[str, str], kept: str) -> None:
    keep_local_direct(given)
    assert given["no_proxy"] == given["NO_PROXY"] == kept
    keep_local_direct(given)
    assert given["no_proxy"] == kept


def test_no_proxy_at_all_stays_so() -> None:
    environ = {"NO_PROXY": "*"}
    keep_local_direct(environ)
    assert environ == {"NO_PROXY": "*"}
