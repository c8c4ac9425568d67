"""The load of users who request images, follow them live, and read one or all of theirs. A closed loop, so that it
suits any machine."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson

from gengui_stream.dev.demo.prompts import request_bodies

AT_ONCE: Final = 4
"""Generations in progress."""

READS_PER_S: Final = 20
WAIT_S: Final = 20


@dataclass(slots=True)
class Served:
    """The responses so far."""

    generations: int = 0
    reads: int = 0
    streamed: int = 0


@asynccontextmanager
async def everyday_load(url: str, key: str) -> AsyncIterator[Served]:
    """Runs the load while the block runs. A response with an error ends it."""
    served, bodies = Served(), request_bodies()
    forever = aiohttp.ClientTimeout(total=None)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers, timeout=forever) as http, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_generate(http, bodies, served)) for _ in range(AT_ONCE)]
        tasks += [group.create_task(_read(http, served)), group.create_task(_follow(http, served))]
        yield served
        for task in tasks:
            task.cancel()


async def _generate(http: aiohttp.ClientSession, bodies: Iterator[dict[str, object]], served: Served) -> None:
    """Requests the next generation once this one has ended."""
    for body in bodies:
        headers = {"Prefer": f"wait={WAIT_S}"}
        async with http.post("/v1/generations", json=body, headers=headers) as response:
            response.raise_for_status()
            await response.read()
        served.generations += 1


async def _read(http: aiohttp.ClientSession, served: Served) -> None:
    """Reads the page, and each of its generations and their timelines in turn."""
    while True:
        page = orjson.loads(await _get(http, "/v1/generations?limit=20"))
        served.reads += 1
        for found in page["data"]:
            await asyncio.sleep(1 / READS_PER_S)
            await _get(http, f"/v1/generations/{found['id']}{'/events' if served.reads % 2 else ''}")
            served.reads += 1
        await asyncio.sleep(1 / READS_PER_S)


async def _get(http: aiohttp.ClientSession, path: str) -> bytes:
    async with http.get(path) as response:
        response.raise_for_status()
        return await response.read()


async def _follow(http: aiohttp.ClientSession, served: Served) -> None:
    async with http.get("/v1/stream") as response:
        response.raise_for_status()
        async for line in response.content:
            served.streamed += line.startswith(b"data: ")
    raise RuntimeError("the live stream ended")
