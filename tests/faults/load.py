"""Clients that repeat each request until it is accepted, always with the same key."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import aiohttp

from tests.faults.system import DevSystem
from tests.integration.running import eventually

CLIENTS: Final = 2
PAUSE_S: Final = 0.8
"""Between two requests of a client: less than what a small machine under other load draws and keeps."""


class Load:
    """What was accepted (by key), and what was answered that never may be."""

    def __init__(self, system: DevSystem) -> None:
        self.accepted: dict[str, UUID] = {}
        self.faults: list[str] = []
        self.unsure = 0
        self._url, self._key = system.url, system.key()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Runs until stopped, then finishes the generations in progress."""
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._ask_on(http))

    def end(self) -> None:
        self._over.set()

    async def more(self, count: int, *, within_s: float = 60) -> None:
        """Until so many more are accepted: the system works."""
        wanted = len(self.accepted) + count

        async def enough() -> bool:
            return len(self.accepted) >= wanted

        await eventually(enough, within_s=within_s)

    async def _ask_on(self, http: aiohttp.ClientSession) -> None:
        while not self._over.is_set():
            key = str(uuid.uuid4())
            body = {"prompt": f"a lighthouse, {key}", "width": 256, "height": 256, "seed": random.randrange(2**32)}
            while not await self._ask(http, key, body):
                await asyncio.sleep(0.2)
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))

    async def _ask(self, http: aiohttp.ClientSession, key: str, body: dict[str, object]) -> bool:
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": key}
        try:
            async with http.post(f"{self._url}/v1/generations", json=body, headers=headers) as response:
                answer = await response.read()
                if response.status == 202:
                    self.accepted[key] = UUID((await response.json())["id"])
                    return True
        except (aiohttp.ClientError, TimeoutError):
            self.unsure += 1  # whether it was accepted is unknown: repeated under the same key
            return False
        if response.status != 503:
            self.faults.append(f"{response.status} {answer.decode(errors='replace')[:300]}")
            return True
        return False


@asynccontextmanager
async def load(system: DevSystem) -> AsyncIterator[Load]:
    """Requests go in meanwhile. A failure marks the system as broken, so that no other test uses it."""
    asking = Load(system)
    running = asyncio.ensure_future(asking.run())
    try:
        yield asking
        asking.end()
        await asyncio.wait_for(running, 90)
    except BaseException:
        system.broken = True
        raise
    finally:
        running.cancel()
        await asyncio.wait({running})


class Listener:
    """One connection to the owner's live stream, with the generations whose end it has received."""

    def __init__(self) -> None:
        self.completed: set[UUID] = set()

    async def run(self, content: aiohttp.StreamReader) -> None:
        """Until the server ends it; the caller decides whether that is a failure."""
        while line := await content.readline():
            if line.startswith(b"data: "):
                event = json.loads(line[len(b"data: ") :])
                if event["type"] == "generation.completed":
                    self.completed.add(UUID(event["generation_id"]))

    async def all_of(self, asked: Load) -> None:
        async def heard() -> bool:
            return set(asked.accepted.values()) <= self.completed

        await eventually(heard, within_s=30)


@asynccontextmanager
async def listening(system: DevSystem) -> AsyncIterator[Listener]:
    """Never reconnects: the stream has to live through what happens meanwhile."""
    listener, headers = Listener(), {"Authorization": f"Bearer {system.key()}"}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
        http.get(f"{system.url}/v1/stream", headers=headers) as response,
    ):
        await response.content.readuntil(b"\n\n")
        running = asyncio.ensure_future(listener.run(response.content))
        try:
            yield listener
            assert not running.done(), f"the stream ended: {running}"
        finally:
            running.cancel()
            await asyncio.wait({running})
