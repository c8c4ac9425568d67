"""Clients of the fake RunPod, and the webhooks that it calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest_asyncio
from aiohttp import ClientSession, ClientTimeout, web

from gengui_stream.fakes.runpod.script import JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.identifiers import new_id
from tests.integration.running import eventually

AUTHORIZED = {"Authorization": "Bearer k"}


def job_input(**changes: object) -> dict[str, object]:
    plain = {
        "prompt": "a red fox",
        "seed": 7,
        "width": 64,
        "height": 96,
        "model": "zit-basic",
        "generation_id": str(new_id()),
        "attempt": 1,
    }
    return {**plain, **changes}


class Client:
    """Speaks to one endpoint."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def run(self, server: RunpodServer, given: object = None, **siblings: object) -> str:
        status, body = await self.post(server, "run", {"input": given or job_input(), **siblings})
        assert (status, body["status"]) == (200, "IN_QUEUE")
        return str(body["id"])

    async def status(self, server: RunpodServer, job: str) -> tuple[int, dict[str, object]]:
        async with self.session.get(f"{server.url}/v2/e/status/{job}", headers=AUTHORIZED) as response:
            return response.status, _object(await response.read())

    async def ended(self, server: RunpodServer, job: str) -> dict[str, object]:
        """What /status says once the job has ended."""

        async def look() -> dict[str, object] | None:
            status, body = await self.status(server, job)
            assert status == 200, body
            return body if body["status"] in {"COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"} else None

        found = await eventually(look)
        assert found is not None
        return found

    async def gone(self, server: RunpodServer, job: str) -> bool:
        return (await self.status(server, job))[0] == 404

    async def health(self, server: RunpodServer) -> tuple[dict[str, int], dict[str, int]]:
        """Of the jobs, and of the workers."""
        async with self.session.get(f"{server.url}/v2/e/health", headers=AUTHORIZED) as response:
            body = await response.json()
        return body["jobs"], body["workers"]

    async def post(
        self, server: RunpodServer, path: str, body: object = None, *, within_s: float = 20
    ) -> tuple[int, dict[str, object]]:
        url, timeout = f"{server.url}/v2/e/{path}", ClientTimeout(within_s)
        async with self.session.post(url, json=body, headers=AUTHORIZED, timeout=timeout) as response:
            return response.status, _object(await response.read())


def _object(raw: bytes) -> dict[str, object]:
    body: object = orjson.loads(raw)
    assert isinstance(body, dict)
    return body


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session)


@dataclass
class Hooks:
    """Where webhooks arrive. `answers`: statuses to answer with, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    arrived: list[tuple[str, object]] = field(default_factory=list)

    async def receive(self, http: web.Request) -> web.Response:
        raw = await http.read()
        try:
            body: object = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = raw
        self.arrived.append((http.path, body))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def number(self, count: int) -> bool:
        return len(self.arrived) >= count


@pytest_asyncio.fixture
async def hooks() -> AsyncIterator[Hooks]:
    received, application = Hooks(), web.Application()
    application.router.add_post("/{path:.*}", received.receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    received.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/runpod/secret"
    yield received
    await runner.cleanup()


@asynccontextmanager
async def living(speed: float = 1, **life: object) -> AsyncIterator[RunpodServer]:
    """A server whose jobs all live like that."""
    script = RunpodScript(usual=JobLife.model_validate(life), speed=speed, image_side_max=128)
    async with fake_runpod(script) as server:
        yield server
