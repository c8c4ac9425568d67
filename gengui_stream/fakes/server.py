"""The base of the fake servers: a script that can be replaced, a record of the requests, and routes to both.

GET /_fake/calls      the requests, the current runs and the concurrent runs, as JSON
GET /_fake/script     the current script
PUT /_fake/script     replaces it; counts start at zero, running jobs continue unchanged
"""

import asyncio
import dataclasses
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic

import orjson
from aiohttp import web

from gengui_stream.errors import ConfigurationError
from gengui_stream.fakes.behaviours import Error, HalfBody, Hang, Html, Reset
from gengui_stream.fakes.calls import Call, Run, Runs, recordable, recordable_headers
from gengui_stream.fakes.faults import client_disconnected, half_of, page, reset
from gengui_stream.fakes.rules import Choice, Chooser, Request
from gengui_stream.fakes.scripts import Did, Script, ScriptError
from gengui_stream.process.lifecycle import pause

BODY_MAX: Final = 20 * 1024 * 1024
GRACE_S: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Exchange(Generic[Did]):
    """A request and its normal response. `timeout_s`: after which the client allows the work to be abandoned. `run`:
    the run that the request started."""

    http: web.Request
    request: Request
    body: object
    usual: Callable[[Did | None], Awaitable[web.Response]]
    timeout_s: float | None = None
    run: Run | None = None


class FakeServer(ABC, Generic[Did]):
    """Listens within `served`. `calls`: every request; `runs`: the current and concurrent runs."""

    def __init__(self, script: Script[Did], seed: int, runs: Runs | None) -> None:
        self.url = ""
        self.seed = seed
        self.calls: list[Call] = []
        self.runs = runs or Runs()
        self.stopped = asyncio.Event()
        self.play(script)

    def play(self, script: Script[Did]) -> None:
        """Replaces the script."""
        self.script = script
        self._chooser = Chooser(script, self.seed)

    @property
    def overlaps(self) -> Mapping[str, int]:
        """The maximum of concurrent runs, for each generation with more than one."""
        return self.runs.overlaps

    def calls_of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    @abstractmethod
    def routes(self) -> Sequence[web.RouteDef]:
        """The routes of the provider."""

    @abstractmethod
    def read_script(self, text: bytes) -> Script[Did]:
        """Raises ScriptError."""

    @abstractmethod
    def error(self, error: Error) -> web.Response:
        """The error in the format of the provider."""

    def record(self) -> dict[str, object]:
        """The body of GET /_fake/calls."""
        calls = [dataclasses.asdict(call) for call in self.calls]
        return {"seed": self.seed, "calls": calls, "running": self.runs.now, "overlaps": self.overlaps}

    async def answer(self, exchange: Exchange[Did]) -> web.StreamResponse:
        """Handles the request by the script, and records it."""
        numbered, choice = self._chooser.next(exchange.request)
        call = Call(
            number=len(self.calls) + 1,
            nth=numbered.nth,
            nth_of_generation=numbered.nth_of_generation,
            rule=choice.rule,
            did=choice.behaviour.do if choice.behaviour else None,
            headers=recordable_headers(exchange.http.headers),
            body=recordable(exchange.body),
            **dataclasses.asdict(exchange.request),
        )
        self.calls.append(call)
        try:
            response = await self._behave(exchange, choice)
            call.status = None if call.did in {"hang", "reset"} else response.status
        finally:
            call.ended_at = time.monotonic()
        return response

    async def _behave(self, exchange: Exchange[Did], choice: Choice[Did]) -> web.StreamResponse:
        behaviour, timeout_s = choice.behaviour, exchange.timeout_s
        if behaviour is not None and behaviour.seconds:
            ended = await pause(self.stopped, min(behaviour.seconds, timeout_s or behaviour.seconds))
            if ended or (timeout_s is not None and timeout_s < behaviour.seconds):
                return self.error(Error(status=504, word="DEADLINE_EXCEEDED", message="Deadline expired."))
        match behaviour:
            case Error():
                return self.error(behaviour)
            case Html():
                return page(behaviour)
            case Hang():
                return await self._hang(exchange)
            case Reset():
                if behaviour.accepted:
                    await exchange.usual(None)
                return reset(exchange.http)
            case HalfBody():
                return await half_of(exchange.http, await exchange.usual(None))
            case _:
                return await exchange.usual(behaviour)

    async def _hang(self, exchange: Exchange[Did]) -> web.Response:
        """The work continues for as long as the client had allowed, whether it is connected or not."""
        if exchange.timeout_s is not None:
            await pause(self.stopped, exchange.timeout_s)
        if exchange.run is not None and exchange.timeout_s is not None:
            exchange.run.end()
        await client_disconnected(exchange.http, self.stopped)
        return reset(exchange.http)


@asynccontextmanager
async def served(server: FakeServer[Did], host: str, port: int) -> AsyncIterator[None]:
    """Listens on that port; 0: on any free one. Raises ConfigurationError when the port is in use."""
    application = web.Application(client_max_size=BODY_MAX)
    application.add_routes([*server.routes(), *_control(server)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE_S, handler_cancellation=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise ConfigurationError([f"cannot listen on {host}:{port}: {reason}; choose another port"]) from error
        server.url = f"http://{host}:{runner.addresses[0][1]}"
        yield
    finally:
        server.stopped.set()
        await runner.cleanup()


async def read_json(http: web.Request) -> object:
    """None for a body that is not JSON."""
    try:
        body: object = orjson.loads(await http.read())
    except orjson.JSONDecodeError:
        return None
    return body


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    encoded = orjson.dumps(body, default=str)
    return web.Response(body=encoded, status=status, content_type="application/json", headers=headers)


def retry_after(error: Error) -> dict[str, str]:
    """The Retry-After header, if the error has one."""
    match error.retry_after:
        case None:
            return {}
        case str() as date:
            return {"Retry-After": date}
        case seconds:
            return {"Retry-After": f"{seconds:g}"}


def _control(server: FakeServer[Did]) -> list[web.RouteDef]:
    return [
        web.get("/_fake/calls", partial(_calls, server)),
        web.get("/_fake/script", partial(_script, server)),
        web.put("/_fake/script", partial(_play, server)),
    ]


async def _calls(server: FakeServer[Did], http: web.Request) -> web.Response:
    return json_response(server.record())


async def _script(server: FakeServer[Did], http: web.Request) -> web.Response:
    return json_response(server.script.model_dump(mode="json", exclude_none=True))


async def _play(server: FakeServer[Did], http: web.Request) -> web.Response:
    try:
        server.play(server.read_script(await http.read()))
    except ScriptError as error:
        return json_response({"faults": error.faults}, 422)
    return await _script(server, http)
