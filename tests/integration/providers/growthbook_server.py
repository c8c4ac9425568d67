"""A scripted GrowthBook on 127.0.0.1, with the streaming of its proxy."""

import asyncio
import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

CLIENT_KEY = "sdk-abc123"


def encrypted(text: str, key: str) -> str:
    """As GrowthBook does it: AES-128-CBC, `iv.ciphertext`, both in base64."""
    iv = os.urandom(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES128(b64decode(key)), modes.CBC(iv)).encryptor()
    return ".".join(b64encode(part).decode() for part in (iv, encryptor.update(padded) + encryptor.finalize()))


@dataclass
class GrowthBookServer:
    """`body` overrides `features`; `status` overrides both. `silent`: requests get no response."""

    features: Mapping[str, object] = field(default_factory=dict)
    encryption_key: str | None = None
    streaming: bool = False
    status: int = 200
    body: bytes | None = None
    silent: bool = False
    port: int = 0
    requests: list[int] = field(default_factory=list)
    streams_opened: int = 0
    _streams: set[asyncio.Queue[str | None]] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> int:
        return len(self._streams)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/features/{key}", self._answer)
        app.router.add_get("/sub/{key}", self._stream)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        self.end_streams()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def payload(self) -> bytes:
        if self.body is not None:
            return self.body
        plain = json.dumps(self.features)
        if self.encryption_key is None:
            return b'{"status": 200, "features": %s}' % plain.encode()
        return json.dumps({"features": {}, "encryptedFeatures": encrypted(plain, self.encryption_key)}).encode()

    def send(self, event: str, data: str = "") -> None:
        for stream in self._streams:
            stream.put_nowait(f"event: {event}\ndata: {data}\n\n")

    def end_streams(self) -> None:
        for stream in self._streams:
            stream.put_nowait(None)

    async def _answer(self, request: web.Request) -> web.Response:
        status = await self._before(request)
        payload = self.payload()
        headers = {"ETag": f'W/"{hashlib.sha256(payload).hexdigest()[:16]}"'}
        if self.streaming:
            headers["X-SSE-Support"] = "enabled"
        if status == 200 and request.headers.get("If-None-Match") == headers["ETag"]:
            status = 304
        self.requests.append(status)
        body = payload if status == 200 else b"<h1>no</h1>" if status != 304 else None
        return web.Response(status=status, body=body, headers=headers, content_type="application/json")

    async def _before(self, request: web.Request) -> int:
        if self.silent:
            await asyncio.Event().wait()
        return self.status if request.match_info["key"] == CLIENT_KEY else 401

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        status = await self._before(request)
        self.streams_opened += 1
        if status != 200:
            return web.Response(status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._streams.add(queue)
        try:
            while (text := await queue.get()) is not None:
                await response.write(text.encode())
        finally:
            self._streams.discard(queue)
        return response


@asynccontextmanager
async def growthbook_server() -> AsyncIterator[GrowthBookServer]:
    server = GrowthBookServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
