"""Parts of the system inside a test: roles, a private Redis, and waiting without sleeping."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from pydantic import SecretStr

from gengui_stream.dev.servers import valkey_binary
from gengui_stream.domain.generation.state import Generation
from gengui_stream.health.liveness import Health
from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import decode
from gengui_stream.log.reader import open_reader
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import generation_states
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from schemas.events import Event, GenerationRequested

SERVER: Final = valkey_binary()

T = TypeVar("T")

DEADLINE_S: Final = 60.0
"""Longer than anything takes on a busy machine: only a test that fails waits for so long."""


async def eventually(look: Callable[[], Awaitable[T]], *, within_s: float = DEADLINE_S) -> T:
    """The result of `look` as soon as it is true. Fails with the last result after the deadline."""
    deadline = time.monotonic() + within_s
    while True:
        if found := await look():
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {within_s} s"
        await asyncio.sleep(0.02)


def role_context(settings: Settings, stop: asyncio.Event | None = None, metrics: Metrics | None = None) -> RoleContext:
    """The context that a process gives to a role."""
    return RoleContext(settings, stop or asyncio.Event(), metrics or new_metrics(), Health())


@asynccontextmanager
async def running(
    role: Callable[[RoleContext], Awaitable[None]], settings: Settings, metrics: Metrics | None = None
) -> AsyncIterator[asyncio.Event]:
    """Runs the role during the block, and stops it at the end."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(role(role_context(settings, stop, metrics)))
    try:
        yield stop
        assert not task.done(), task
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def a_request(**changes: object) -> GenerationRequested:
    """A request as the API would append it."""
    generation_id = new_id()
    plain = {
        "id": generation_id,
        "generation_id": generation_id,
        "attempt": 1,
        "occurred_at": datetime.now(UTC),
        "producer": "test",
        "owner_id": new_id(),
        "prompt": "a lighthouse, 光",
        "seed": 42,
        "width": 512,
        "height": 768,
        "model": "local-sketch",
        "provider": "local",
        "max_attempts": 3,
    }
    return GenerationRequested.model_validate(plain | changes)


async def state_of(pool: Pool, generation_id: UUID) -> Generation | None:
    return (await generation_states.load(pool, [generation_id])).get(generation_id)


async def logged(settings: Settings) -> list[Event]:
    """Every event on the log, in the order of its partition."""
    events: list[Event] = []
    async with open_reader(settings) as reader:
        async for records in reader.until_end():
            decoded = [decode(record.key, record.value) for record in records]
            events += [item for item in decoded if isinstance(item, Event)]
    return events


class PrivateRedis:
    """A private server that the test kills and restarts; it keeps its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def settings(self, others: Settings, **changes: object) -> Settings:
        return others.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{self.port}/0"), **changes})

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._answers)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"  # not while it loads its data
        finally:
            writer.close()
            await writer.wait_closed()

    async def kill(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await process.wait()


@asynccontextmanager
async def private_redis(folder: Path) -> AsyncIterator[PrivateRedis]:
    """Not started yet."""
    server = PrivateRedis(folder)
    try:
        yield server
    finally:
        await server.kill()
