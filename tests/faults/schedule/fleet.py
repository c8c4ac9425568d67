"""The system under test: the embedded stack, every role, a second process of those that compete, and two fake
providers, all supervised as `gengui-stream dev` does it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
import psutil

from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.dev.limits import UNLIMITED
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.preparation import Preparation
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.processes.supervisor import Supervisor
from gengui_stream.dev.servers import Server
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.gemini.script import GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.runpod.script import RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings, load_settings
from tests.bench.system import port_for_a_fake
from tests.faults.schedule.commands import Commands, started_forks
from tests.faults.schedule.plan import MACHINE
from tests.oracle.evidence import ProviderCall

SECOND: Final[Mapping[str, str]] = {
    "agents-2": "agents",
    "dispatch-2": "dispatch",
    "worker-redis": "worker",
    "worker-http": "worker",
}
"""Further processes of a role, which compete with the first; the workers cover the three transports of reports."""

FAKE_KEY: Final = "of-the-fake"
IMAGE_SIDE_MAX: Final = 256
SETTINGS: Final[Mapping[str, str]] = {
    **UNLIMITED,
    "KAFKA_SESSION_TIMEOUT_S": "6",
    "JOB_LEASE_S": "4",
    "WORKER_CLAIM_IDLE_S": "4",
    "SHUTDOWN_GRACE_S": "5",
    "ATTEMPT_SILENCE_S": "12",
    "CANCEL_GRACE_S": "8",
    "DELETION_GRACE_S": "5",
    "GENERATION_DEADLINE_S": "180",
    "MAX_ATTEMPTS": "5",
    "PRESIGNED_URL_TTL_S": "86400",
    "GEMINI_API_KEY": FAKE_KEY,
    "GEMINI_TIMEOUT_S": "5",
    "RUNPOD_API_KEY": FAKE_KEY,
    "RUNPOD_ENDPOINT_ID": "schedule",
    "RUNPOD_TTL_S": "60",
    "RUNPOD_SILENCE_S": "6",
    "RUNPOD_LOOK_EVERY_S": "2",
    "WEBHOOK_SECRET": "a secret of the run alone, longer than it need be",
}
"""What was lost is taken over after seconds, so that a schedule of minutes has many of each."""

_FOREIGN: Final = frozenset(name.upper() for name in Settings.model_fields)


class FleetSupervisor(Supervisor):
    """Some processes have settings of their own. With a fork server, restarted roles are forked as well."""

    own: Mapping[str, Mapping[str, str]] = {}

    def _environ_of(self, role: str) -> Mapping[str, str]:
        return {**super()._environ_of(role), **self.own.get(role, {})}

    async def _relaunch(self, role: str) -> None:
        if self._forks is None:
            await super()._relaunch(role)
            return
        async with self._one_fork:  # a restart may come while the supervisor revives the role
            if not self.roles[role].alive:
                await self._fork(role, self._forks)

    @cached_property
    def _one_fork(self) -> asyncio.Lock:
        return asyncio.Lock()


@dataclass(slots=True)
class Fleet:
    """A running system. `said`: what the supervisor reported."""

    settings: Settings
    keys: Mapping[str, str]
    supervisor: FleetSupervisor
    gemini: GeminiServer
    runpod: RunpodServer
    runs: Runs
    environ: Mapping[str, str]
    commands: Commands
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the first API process."""
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def urls(self) -> list[str]:
        """Of every API process."""
        further = [own["PORT"] for own in self.supervisor.own.values() if "PORT" in own]
        return [self.url, *(f"http://127.0.0.1:{port}" for port in further)]

    @property
    def roles(self) -> list[str]:
        return list(self.supervisor.roles)

    @property
    def servers(self) -> list[str]:
        return [child.name for child in self.supervisor.children if child.name not in self.supervisor.roles]

    def children_of(self, target: str) -> list[Child]:
        return [child for child in self.supervisor.children if target in {MACHINE, child.name}]

    def signal(self, target: str, number: signal.Signals) -> int:
        """To every process of the target that runs; how many there were. A pause stops a server's children as well."""
        found = [process for child in self.children_of(target) for process in _processes(child, number)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return len(found)

    async def until_alive(self, target: str, *, within_s: float) -> bool:
        """Whether a process of the target runs, after the wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not all(child.alive for child in self.children_of(target)):
                    await asyncio.sleep(0.05)
                return True
        return False

    async def until_ready(self, *, within_s: float) -> bool:
        """Whether every process has started and each /readyz answers 200, after the wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not (self.supervisor.stands() and all([await is_ready(url) for url in self.urls])):
                    await asyncio.sleep(0.2)
                return True
        return False

    def provider_calls(self) -> list[ProviderCall]:
        """The calls that made a provider run an attempt."""
        calls = [("gemini", call) for call in self.gemini.calls_of("generate")]
        calls += [("runpod", call) for call in self.runpod.calls_of("run")]
        return [ProviderCall(name, call.generation, call.attempt) for name, call in calls if call.status in {None, 200}]


def _processes(child: Child, number: signal.Signals) -> list[psutil.Process]:
    if not child.alive or child.pid is None:
        return []
    try:
        process = psutil.Process(child.pid)
        return [process] if number is signal.SIGKILL else [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


async def is_ready(url: str) -> bool:
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@asynccontextmanager
async def opened_fleet(
    directory: Path,
    seed: int,
    given: Mapping[str, str] = MappingProxyType({}),
    *,
    besides: Mapping[str, str] = SECOND,
    servers: Sequence[Server] = (),
    fork_server: str | None = None,
) -> AsyncIterator[Fleet]:
    """Ready for requests. Everything ends with the block. `given`: further settings; a server that they name is not
    started. `besides`: further processes, with their roles. `servers`: further ones, to be started. `fork_server`: the
    module of one that forks roles and commands, which start as new interpreters without it."""
    stack, runs, runpod_port = EmbeddedStack(directory, given=given), Runs(), port_for_a_fake()
    async with AsyncExitStack() as exits:
        forks = await exits.enter_async_context(started_forks(fork_server))
        for server in (*stack.servers, *servers):
            exits.push_async_callback(server.kill)
        async with asyncio.TaskGroup() as starting:
            starting.create_task(stack.start())
            for server in servers:
                starting.create_task(server.start())
        script = GeminiScript(image_side_max=IMAGE_SIDE_MAX)
        gemini = await exits.enter_async_context(fake_gemini(script, seed=seed, key=FAKE_KEY, runs=runs))
        environ = {**_environ(stack, gemini.url, f"http://127.0.0.1:{runpod_port}"), **given}
        settings = load_settings(environ, env_files=())
        preparation = Preparation(settings, directory / "keys.json")
        await preparation.run()
        runpod = await exits.enter_async_context(
            fake_runpod(
                RunpodScript(image_side_max=IMAGE_SIDE_MAX),
                seed=seed,
                key=FAKE_KEY,
                runs=runs,
                settings=settings,
                port=runpod_port,
            )
        )
        supervisor, said = _supervisor(
            directory, environ, [*stack.servers, *servers], besides, preparation.keys["worker"], forks=forks
        )
        exits.push_async_callback(supervisor.kill)
        commands = Commands(environ, directory / "logs", forks)
        fleet = Fleet(settings, preparation.keys, supervisor, gemini, runpod, runs, environ, commands, said)
        await supervisor.start()
        watching = asyncio.ensure_future(supervisor.watch())
        try:
            yield fleet
        finally:
            watching.cancel()
            await asyncio.wait({watching})


def _environ(stack: EmbeddedStack, gemini_url: str, runpod_url: str) -> dict[str, str]:
    port = str(free_port())
    plain = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    providers = {"GEMINI_BASE_URL": gemini_url, "RUNPOD_BASE_URL": runpod_url}
    return {**plain, **SETTINGS, **stack.environ, **providers, "PORT": port, "PUBLIC_URL": f"http://127.0.0.1:{port}"}


def _supervisor(
    directory: Path,
    environ: Mapping[str, str],
    servers: Sequence[Server],
    besides: Mapping[str, str],
    worker_key: str,
    *,
    forks: ForkServer | None,
) -> tuple[FleetSupervisor, list[str]]:
    said: list[str] = []
    roles = {**{name: name for name in ROLES}, **besides}
    supervisor = FleetSupervisor(
        directory,
        environ,
        servers,
        metrics_ports={name: free_port() for name, role in roles.items() if ROLES[role].metrics_port is not None},
        say=said.append,
        besides={name: ROLES[role].arguments for name, role in besides.items()},
        forks=forks,
    )
    http = {"WORKER_TRANSPORT": "http", "WORKER_API_URL": environ["PUBLIC_URL"], "WORKER_API_KEY": worker_key}
    supervisor.own = {
        "worker-redis": {"WORKER_TRANSPORT": "redis"},
        "worker-http": http,
        **{name: {"PORT": str(free_port())} for name, role in besides.items() if role == "api"},
    }
    return supervisor, said
