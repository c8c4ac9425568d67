"""Clients behind a load balancer: new connections go to the listed processes, and a kept one stays with its process
until that closes it."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

CLIENTS: Final = 4
PAUSE_S: Final = 0.25
SIDE: Final = 256
ENDED: Final = frozenset({"completed", "failed", "canceled", "moderated"})


@dataclass(slots=True)
class Balancer:
    """`urls`: of the processes that take new connections."""

    urls: list[str] = field(default_factory=list)
    _next: int = 0

    def choose(self) -> str:
        self._next += 1
        return self.urls[self._next % len(self.urls)]


@dataclass(slots=True)
class Seen:
    """`faults`: responses of 500 or more, and requests without a response. `closed`: connections that a response
    announced the end of. `streamed`: how often the streams had each position; `reconnected`: how often they ended."""

    accepted: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    closed: int = 0
    streamed: Counter[str] = field(default_factory=Counter)
    reconnected: int = 0

    @property
    def ended(self) -> int:
        return len(self.attempts)


@dataclass(slots=True)
class _Client:
    """Keeps one connection to one process, until a response announces its end."""

    balancer: Balancer
    headers: dict[str, str]
    seen: Seen
    http: aiohttp.ClientSession | None = None
    url: str = ""

    async def run(self, stop: asyncio.Event) -> None:
        """One generation after the other, each followed to its end."""
        try:
            while not stop.is_set():
                await self._generate()
        finally:
            await self._close()

    async def _generate(self) -> None:
        body = {"prompt": "a lighthouse", "width": SIDE, "height": SIDE, "provider": "local"}
        made = await self._call("POST", "/v1/generations", body)
        if made is None:
            return
        self.seen.accepted.append(str(made["id"]))
        while made["status"] not in ENDED:
            await asyncio.sleep(PAUSE_S)
            made = await self._call("GET", f"/v1/generations/{made['id']}") or made
        self.seen.attempts[str(made["id"])] = int(str(made["attempt"]))

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, object] | None:
        """None: there was no response, or an error."""
        http = await self._connected()
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        try:
            async with http.request(method, self.url + path, json=body, headers=headers) as response:
                text = await response.read()
                self.seen.statuses[response.status] += 1
                announced = response.headers.get("Connection") == "close"
                if response.status >= 400:
                    self.seen.faults.append(f"{method} {path}: {response.status} {text[:200]!r}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.seen.faults.append(f"{method} {path} at {self.url}: {error!r}")
            await self._close()
            return None
        if announced:
            self.seen.closed += 1
            await self._close()
        found: dict[str, object] = orjson.loads(text)
        return found if response.status < 400 else None

    async def _connected(self) -> aiohttp.ClientSession:
        if self.http is None:
            self.url = self.balancer.choose()
            self.http = aiohttp.ClientSession(headers=self.headers, connector=aiohttp.TCPConnector(limit=1))
        return self.http

    async def _close(self) -> None:
        if self.http is not None:
            http, self.http = self.http, None
            await http.close()


async def _follow(balancer: Balancer, headers: dict[str, str], seen: Seen) -> None:
    """All events of the owner, over one stream after the other."""
    last = ""
    while True:
        since = {"Last-Event-ID": last} if last else {}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as http,
                http.get(f"{balancer.choose()}/v1/stream", headers=since) as response,
            ):
                response.raise_for_status()
                async for line in response.content:
                    if line.startswith(b"id: "):
                        last = line[len(b"id: ") :].decode().strip()
                    elif line.startswith(b"data: ") and "position" in (event := orjson.loads(line[len(b"data: ") :])):
                        seen.streamed[str(event["position"])] += 1
        except aiohttp.ClientError as error:
            seen.faults.append(f"stream: {error!r}")
        seen.reconnected += 1


@asynccontextmanager
async def clients(balancer: Balancer, key: str) -> AsyncIterator[Seen]:
    """They run during the block, and then until each generation has ended."""
    seen, stop, headers = Seen(), asyncio.Event(), {"Authorization": f"Bearer {key}"}
    async with asyncio.TaskGroup() as streams:
        stream = streams.create_task(_follow(balancer, headers, seen))
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(_Client(balancer, headers, seen).run(stop))
            try:
                yield seen
            finally:
                stop.set()
        stream.cancel()
