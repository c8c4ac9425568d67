"""Runs every role as a process; restarts dead roles and servers with back-off, and reports it."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.servers import Server
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.roles import ROLES

FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.5, 10.0, 30.0
LOOK_EVERY_S: Final = 0.2
OWN_END_S: Final = 5.0
"""How long beyond its grace a hanging role takes to end itself at most (bootstrap.LAST_SECONDS, twice)."""


class Backoff:
    """The pause before a restart: it doubles, and is reset after a steady run."""

    def __init__(self) -> None:
        self._pause, self._started_at = FIRST_PAUSE_S, time.monotonic()
        self._exit_code: int | None = None

    def repeats(self, exit_code: int | None) -> bool:
        """Whether the run before ended with this exit code as well."""
        before, self._exit_code = self._exit_code, exit_code
        return before == exit_code

    def died(self) -> float:
        """Seconds until the restart."""
        steady = time.monotonic() - self._started_at > STEADY_S
        pause = FIRST_PAUSE_S if steady else self._pause
        self._pause = min(pause * 2, LONGEST_PAUSE_S)
        return pause

    def started(self) -> None:
        self._started_at = time.monotonic()


class Supervisor:
    """Starts the roles with `environ`, but those in `without`; calls `changed` whenever process ids change. In `cwd`
    the roles look for the env files; without it, in this process's directory. `besides`: further processes, name to
    command line. `metrics_ports`: where each role serves `/livez` and `/metrics`. `forks`: a fork server for a faster
    start; a restarted role runs the code as it is then."""

    def __init__(
        self,
        directory: Path,
        environ: Mapping[str, str],
        servers: Sequence[Server],
        *,
        metrics_ports: Mapping[str, int],
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        cwd: Path | None = None,
        besides: Mapping[str, Sequence[str]] | None = None,
        forks: ForkServer | None = None,
        without: Collection[str] = (),
    ) -> None:
        started = {name: role.arguments for name, role in ROLES.items() if name not in without}
        self._commands = started | dict(besides or {})
        self._metrics_ports = metrics_ports
        self._environ, self._cwd = environ, cwd
        self._servers = servers
        self._say, self._changed = say, changed
        self._forks = forks
        self._restarting: set[str] = set()
        self.roles = {role: Child(role, directory / "logs" / f"{role}.log") for role in self._commands}

    @property
    def children(self) -> list[Child]:
        """Roles and servers."""
        return [*self.roles.values(), *(server.child for server in self._servers)]

    async def start(self) -> None:
        if self._forks is None:
            for role in self.roles:
                self._launch(role)
        else:
            await asyncio.gather(*(self._fork(role, self._forks) for role in self.roles))
        self._changed()

    def pids(self) -> dict[str, list[int]]:
        """The process ids of all roles and servers, by name."""
        return {child.name: [child.pid] if child.alive and child.pid else [] for child in self.children}

    def stands(self) -> bool:
        """Whether every role has started, so that a stop ends it gracefully; before, a stop kills it."""
        return all(child.announced_ready for child in self.roles.values())

    async def watch(self) -> None:
        """Restarts dead processes until it is cancelled. Each has its own task, so a slow server delays no role. Raises
        ConfigurationError when a role ends with 78 twice in a row: its settings are at fault."""
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._servers:
                    group.create_task(self._keep(server.child, server.start))
                for role, child in self.roles.items():
                    group.create_task(self._keep(child, partial(self._relaunch, role)))
        except* ConfigurationError as errors:
            raise errors.exceptions[0] from errors

    async def restart(self, roles: Sequence[str], grace_s: float, *, environ: Mapping[str, str] | None = None) -> None:
        """Restarts the roles from the current code, with `environ` from now on. Each has its grace period to end."""
        self._environ = environ if environ is not None else self._environ
        self._restarting |= set(roles)
        try:
            await asyncio.gather(*(self.roles[role].stop(grace_s=grace_s + OWN_END_S) for role in roles))
            for role in roles:
                await self._relaunch(role)
        finally:
            self._restarting -= set(roles)
        self._changed()

    async def stop(self, grace_s: float) -> None:
        await asyncio.gather(*(child.stop(grace_s=grace_s + OWN_END_S) for child in self.roles.values()))

    async def kill(self) -> None:
        await asyncio.gather(*(child.stop(how=signal.SIGKILL) for child in self.roles.values()))

    async def _fork(self, role: str, forks: ForkServer) -> None:
        child = self.roles[role]
        try:
            child.follow(
                await forks.fork(
                    role, self._commands[role], environ=self._environ_of(role), cwd=self._cwd, log=child.log
                )
            )
        except TransientError as error:
            self._say(f"{role} is started without the fork server: {error}")
            self._launch(role)

    def _launch(self, role: str) -> None:
        command = [sys.executable, "-m", "gengui_stream.cli", *self._commands[role]]
        self.roles[role].start(command, environ=self._environ_of(role), cwd=self._cwd)

    def _environ_of(self, role: str) -> Mapping[str, str]:
        port = {"METRICS_PORT": str(self._metrics_ports.get(role, ""))}
        return {**self._environ, **port, **self.roles[role].readiness_environ()}

    async def _relaunch(self, role: str) -> None:
        if not self.roles[role].alive:  # restarted in the meantime, because its code changed
            self._launch(role)

    async def _keep(self, child: Child, start: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            if not child.alive and child.name not in self._restarting:
                await self._revive(child, start, backoff)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _revive(self, child: Child, start: Callable[[], Awaitable[None]], backoff: Backoff) -> None:
        if backoff.repeats(child.exit_code) and child.exit_code == ExitCode.CONFIGURATION:
            raise ConfigurationError([f"{child.name} does not start; the end of {child.log}:\n{child.log_tail()}"])
        pause = backoff.died()
        self._say(f"{child.name} ended ({child.exit_code}); starting it again in {pause:.1f} s; its log: {child.log}")
        self._changed()
        await asyncio.sleep(pause)
        try:
            await start()
        except (TransientError, ConfigurationError, OSError) as error:
            self._say(f"{child.name} does not start: {error}")
        else:
            self._say(f"{child.name} runs again, process {child.pid}")
        backoff.started()
        self._changed()
