"""Clients of the fake Gemini."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest_asyncio
from aiohttp import ClientSession, ClientTimeout

from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini

MODEL = "gemini-3.1-flash-image"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    def at(self, *path: str | int) -> object:
        """What lies at that place of the body."""
        found: object = orjson.loads(self.text)
        for step in path:
            match found, step:
                case dict(), str():
                    found = found[step]
                case list(), int():
                    found = found[step]
                case _:
                    raise AssertionError(f"no {step!r} in {found!r}")
        return found

    @property
    def parts(self) -> list[dict[str, object]]:
        parts = self.at("candidates", 0, "content", "parts")
        assert isinstance(parts, list)
        return parts


class Client:
    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def ask(
        self,
        server: GeminiServer,
        prompt: str = "a red fox",
        *,
        model: str = MODEL,
        config: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        key: str = "k",
        within_s: float = 20,
    ) -> Answer:
        body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config or {}}
        return await self.post(server, orjson.dumps(body), model=model, headers=headers, key=key, within_s=within_s)

    async def post(
        self,
        server: GeminiServer,
        body: bytes,
        *,
        model: str = MODEL,
        headers: dict[str, str] | None = None,
        key: str = "k",
        within_s: float = 20,
    ) -> Answer:
        named = {**({"x-goog-api-key": key} if key else {}), "Content-Type": "application/json", **(headers or {})}
        url = f"{server.url}/v1beta/models/{model}:generateContent"
        async with self.session.post(url, data=body, headers=named, timeout=ClientTimeout(within_s)) as response:
            return Answer(response.status, dict(response.headers), await response.text())


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session)


def small(script: GeminiScript) -> GeminiScript:
    return script.model_copy(update={"image_side_max": 64})


@asynccontextmanager
async def playing(name: str) -> AsyncIterator[GeminiServer]:
    async with fake_gemini(small(READY[name])) as server:
        yield server
