"""The embedded stack and every role for the duration of a demo; nothing is left afterwards."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from gengui_stream.dev.demo.client import DemoClient, open_client
from gengui_stream.dev.demo.provider import DemoProvider, Staging, staging
from gengui_stream.dev.demo.report import claimed_partitions
from gengui_stream.dev.demo.start import DemoStart
from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.dev.limits import UNLIMITED
from gengui_stream.dev.ports import free_metrics_ports, free_port
from gengui_stream.dev.preparation import Preparation
from gengui_stream.dev.processes.supervisor import LOOK_EVERY_S, Supervisor
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.errors import TransientError
from gengui_stream.logging import log_for_people
from gengui_stream.settings import Settings, load_settings
from gengui_stream.tracing.export import endpoint_of

READY_WITHIN_S: Final = 60.0
PLACES: Final = (
    "KAFKA_",
    "DATABASE_",
    "DB_",
    "REDIS_",
    "S3_",
    "AWS_",
    "MINIO_",
    "PUBLIC_",
    "METRICS_",
    "WORKER_API_",
    "WORKER_TRANSPORT",
    "DEFAULT_",
    "IMAGE_INFERENCE_",
    "ENABLE_RUNPOD",
    "PROVIDER_",
    "RUNPOD_",
    "GEMINI_",
    "GROWTHBOOK_",
    "WEBHOOK_",
)
"""Settings of addresses and accounts: the demo uses its own servers, and never yours or a paid account. Your other
settings apply."""

GENEROUS: Final = {**UNLIMITED, "GENERATION_DEADLINE_S": "86400"}
"""Limits that let any number of generations complete."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DemoSystem:
    """The running system and its addresses."""

    settings: Settings
    key: str
    supervisor: Supervisor
    staging: Staging

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    async def while_alive(self, work: Coroutine[None, None, T]) -> T:
        """The result of the work. Raises TransientError when a process ends: a demo restarts nothing."""
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                self._check_processes()
                await asyncio.wait({working}, timeout=LOOK_EVERY_S)
            return working.result()
        except TransientError:
            self._check_processes()  # an ended process is the better reason
            raise
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working

    def _check_processes(self) -> None:
        for child in self.supervisor.children:
            if not child.alive:
                raise TransientError(f"{child.name} ended with code {child.exit_code}")

    async def until_ready(self) -> None:
        async with open_client(self.url, self.key) as client:
            try:
                async with asyncio.timeout(READY_WITHIN_S):
                    while not await self._is_ready(client):  # noqa: ASYNC110 - processes
                        await asyncio.sleep(0.05)
            except TimeoutError as error:
                raise TransientError(f"the system was not ready within {READY_WITHIN_S:.0f} s") from error

    async def _is_ready(self, client: DemoClient) -> bool:
        standing = self.supervisor.stands() and await self.staging.stands()
        return standing and await client.ready() and await self._agents_are_ready()

    async def _agents_are_ready(self) -> bool:
        """Waits for the agents, since the latency of events before their start would be misleading."""
        return await claimed_partitions(self.settings) == self.settings.events_partitions

    def ends_of_logs(self, suspects: Collection[str] = ("api",)) -> str:
        """The ends of the logs of ended processes and of suspected roles."""
        roles = self.supervisor.roles
        shown = [child for child in self.supervisor.children if not child.alive or child in map(roles.get, suspects)]
        return "\n".join(f"--- the end of {child.name}'s log:\n{child.log_tail()}" for child in shown)


@asynccontextmanager
async def running_system(
    start: DemoStart, provider: DemoProvider, *, say: Callable[[str], None], forks: ForkServer | None
) -> AsyncIterator[DemoSystem]:
    """Yields once everything is ready. Raises TransientError with the end of the log of a process that cannot start."""
    directory, stack, port = start.directory, start.stack, free_port()
    staged = staging(provider, f"http://127.0.0.1:{port}")
    environ = {**_environ(stack, directory, port), **staged.environ}
    settings = load_settings(environ, env_files=())
    log_for_people(settings, "demo")
    preparation = Preparation(settings, directory / "keys.json")
    supervisor = Supervisor(
        directory,
        environ,
        stack.servers,
        metrics_ports=free_metrics_ports(),
        say=say,
        cwd=directory,
        besides=staged.commands,
        forks=forks,
    )
    try:
        await stack.start(after=preparation.steps)
        say("starting the roles ...")
        async with _running_roles(supervisor, grace_s=settings.shutdown_grace_s if endpoint_of(settings) else None):
            system = DemoSystem(settings, preparation.keys["demo"], supervisor, staged)
            await _started(system)
            yield system
    finally:
        await stack.kill()
        if forks is not None:
            await forks.stop()


@asynccontextmanager
async def _running_roles(supervisor: Supervisor, grace_s: float | None) -> AsyncIterator[None]:
    """`grace_s`: to send the last spans to a collector; None: there is none."""
    try:
        await supervisor.start()
        yield
        if grace_s is not None:
            await supervisor.stop(grace_s)
    finally:
        await supervisor.kill()  # their data is removed with the servers


async def _started(system: DemoSystem) -> None:
    try:
        await system.while_alive(system.until_ready())
    except TransientError as error:
        raise TransientError(f"{error}\n{system.ends_of_logs(('api', 'agents'))}") from error


def _environ(stack: EmbeddedStack, directory: Path, port: int) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(PLACES)}
    cores = str(os.cpu_count() or 1)
    own = {"HOST": "127.0.0.1", "PORT": str(port), "TMPDIR": str(directory)}
    return {"WORKER_CONCURRENCY": cores, **GENEROUS, **ours, **stack.environ, **own}
