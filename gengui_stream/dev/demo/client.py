"""A client of the API: requests, the live stream, and downloads from the object store by signed URLs."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import aiohttp

from gengui_stream.errors import TransientError
from schemas.http import EventPage, EventResource, GenerationResource

TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event and the time of its arrival, by the wall clock and by the monotonic clock."""

    event: EventResource
    at: datetime
    clock: float


class DemoClient:
    """Methods raise TransientError for every error of the API."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self._http, self._url = http, url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def ready(self) -> bool:
        try:
            async with self._http.get(f"{self._url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def create(self, wanted: Mapping[str, object]) -> UUID:
        body = await self._call("POST", "/v1/generations", wanted)
        return GenerationResource.model_validate_json(body).id

    async def get(self, generation_id: UUID) -> GenerationResource:
        return GenerationResource.model_validate_json(await self._call("GET", f"/v1/generations/{generation_id}"))

    async def timeline(self, generation_id: UUID) -> list[EventResource]:
        body = await self._call("GET", f"/v1/generations/{generation_id}/events")
        return EventPage.model_validate_json(body).data

    async def fetch(self, url: str) -> bytes:
        """Downloads from a signed URL, without the API."""
        async with self._http.get(url) as response:
            if response.status != 200:
                raise TransientError(f"the object store answered {response.status}")
            return await response.read()

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        async with self._http.request(method, self._url + path, json=body, headers=self._headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise TransientError(f"{method} {path}: {response.status} {answer.decode(errors='replace')[:500]}")
            return answer

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[Arrival]]:
        """Streams all events of the owner from now on: none is missed once the context is entered."""
        forever = aiohttp.ClientTimeout(total=None)
        async with self._http.get(f"{self._url}/v1/stream", headers=self._headers, timeout=forever) as response:
            if response.status != 200:
                raise TransientError(f"GET /v1/stream: {response.status}")
            await response.content.readuntil(b"\n\n")
            yield _arrivals(response.content)


async def _arrivals(content: aiohttp.StreamReader) -> AsyncIterator[Arrival]:
    while line := await content.readline():
        if line.startswith(b"data: "):
            at, clock = datetime.now(UTC), time.monotonic()
            yield Arrival(EventResource.model_validate_json(line[len(b"data: ") :]), at, clock)
    raise TransientError("the live stream ended")


@asynccontextmanager
async def open_client(url: str, key: str) -> AsyncIterator[DemoClient]:
    """Raises TransientError in place of aiohttp's errors."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as http:
            yield DemoClient(http, url, key)
    except aiohttp.ClientError as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except TimeoutError as error:
        raise TransientError(f"no answer within {TIMEOUT_S} s") from error
