"""The embedded stack and roles as processes for the duration of a measurement, and the resources that a process has
used."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from gengui_stream.dev.demo.report import claimed_partitions
from gengui_stream.dev.limits import UNLIMITED
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.preparation import Preparation
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import checkpoints
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class System:
    """A running stack, migrated and seeded; each measurement starts its roles on it."""

    directory: Path
    environ: dict[str, str]
    settings: Settings
    key: str
    servers: dict[str, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def whole_environ(self) -> dict[str, str]:
        """The environment of a process on this stack."""
        return {**os.environ, **self.environ}

    def child(self, name: str) -> Child:
        return Child(name, self.directory / "logs" / f"{name}.log")


@asynccontextmanager
async def opened_system(**environ: str) -> AsyncIterator[System]:
    """`environ` overrides the stack's settings; a server that it names is not started. All data is removed
    afterwards."""
    async with opened_stack(environ) as (directory, stack):
        yield await _prepared(directory, stack, environ)


@asynccontextmanager
async def opened_stack(given: Mapping[str, str]) -> AsyncIterator[tuple[Path, EmbeddedStack]]:
    """Starts the servers that `given` does not name, in a temporary directory."""
    with temporary_directory("gengui-bench-") as directory:
        stack = EmbeddedStack(directory, given=given)
        try:
            await stack.start()
            yield directory, stack
        finally:
            await stack.stop()


async def _prepared(directory: Path, stack: EmbeddedStack, environ: Mapping[str, str]) -> System:
    port = free_port()
    # As many connections as in production, but without its log format.
    own = {
        **stack.environ,
        **UNLIMITED,
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DB_POOL_MAX": "10",
        **environ,
    }
    settings = load_settings(own, env_files=())
    preparation = Preparation(settings, directory / "keys.json")
    await preparation.run()
    pids = {server.child.name: server.child.pid or 0 for server in stack.servers}
    return System(directory, own, settings, preparation.keys["demo"], pids)


@asynccontextmanager
async def started(system: System, name: str, command: Sequence[str]) -> AsyncIterator[Child]:
    """Runs `python -m …` with the stack's settings while the block runs."""
    child = system.child(name)
    child.start([sys.executable, "-m", *command], environ=system.whole_environ)
    try:
        yield child
    finally:
        await child.stop(grace_s=15)


@asynccontextmanager
async def roles_started(system: System, roles: Iterable[str]) -> AsyncIterator[dict[str, int]]:
    """Starts each as a process, by the names of `gengui-stream dev`; a further process of a role has a number behind
    its name, as in `agents-2`. Yields process ids, once the API and the agents are ready."""
    async with AsyncExitStack() as stack:
        children = {
            name: await stack.enter_async_context(started(system, name, ["gengui_stream.cli", *_arguments_of(name)]))
            for name in roles
        }
        if "api" in children:
            await until_served(children["api"], f"{system.url}/readyz")
        if "agents" in children:
            await children["agents"].until_ready(lambda: _all_claimed(system.settings), 60)
        yield {role: child.pid or 0 for role, child in children.items()}


def _arguments_of(name: str) -> Sequence[str]:
    role = name if name in ROLES else name.rpartition("-")[0]
    return ROLES[role].arguments


async def _all_claimed(settings: Settings) -> bool:
    return await claimed_partitions(settings) == settings.events_partitions


async def projected(pool: Pool, settings: Settings, positions: Sequence[Position], *, within_s: float = 60.0) -> None:
    """Returns once the projections have all of these."""
    ends: dict[int, int] = {}
    for position in positions:
        ends[position.partition] = max(position.offset, ends.get(position.partition, -1))
    async with asyncio.timeout(within_s):
        while True:
            found = await checkpoints.projected(pool, settings.events_topic)
            if all(found.get(partition, 0) > offset for partition, offset in ends.items()):
                return
            await asyncio.sleep(0.02)


def port_for_a_fake() -> int:
    """A port outside the range in which the stack searches."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def until_served(child: Child, url: str) -> None:
    """Returns once the address responds with 200."""

    async def answers() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    await child.until_ready(answers, 60)


def cpu_s(pid: int) -> float:
    """Processor seconds, user and system, of the process and its descendants so far; on Linux, ended ones included."""
    return sum(_cpu_s(each) for each in descendants(pid))


def _cpu_s(pid: int) -> float:
    try:
        return sum(psutil.Process(pid).cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0  # it has just ended: its parent's sum has it


def rss_mib(pid: int) -> float:
    """Resident memory."""
    return psutil.Process(pid).memory_info().rss / 2**20


def descendants(pid: int) -> list[int]:
    """The process and its descendants, such as the backends of PostgreSQL."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
