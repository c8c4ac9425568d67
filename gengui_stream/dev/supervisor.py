"""Every role as a process of its own; a role or a server that dies is started again, with back-off, and said so."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gengui_stream.dev.child import Child
from gengui_stream.dev.servers import Server
from gengui_stream.errors import TransientError

ROLES: Final[Mapping[str, Sequence[str]]] = {
    "api": ("api",),
    "agents": ("agents",),
    "live-tables": ("agents", "--app", "live-tables"),
    "dispatch": ("dispatch",),
    "worker": ("worker",),
    "thumbnails": ("thumbnails",),
    "bridge": ("bridge",),
}
"""Role to command line."""

FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.5, 10.0, 30.0
LOOK_EVERY_S: Final = 0.2


class Backoff:
    """How long to wait before a process is started again: doubling, and forgotten once it ran steadily."""

    def __init__(self) -> None:
        self._pause, self._started_at, self.due_at = FIRST_PAUSE_S, time.monotonic(), 0.0

    def died(self) -> float:
        """Seconds until it may be started again."""
        steady = time.monotonic() - self._started_at > STEADY_S
        pause = FIRST_PAUSE_S if steady else self._pause
        self._pause = min(pause * 2, LONGEST_PAUSE_S)
        self.due_at = time.monotonic() + pause
        return pause

    def started(self) -> None:
        self._started_at, self.due_at = time.monotonic(), 0.0


class Supervisor:
    """Starts the roles with `environ`; `changed` is called after every start, when process ids are new. In `cwd` the
    roles look for the env files; without it, in this process's directory."""

    def __init__(
        self,
        directory: Path,
        environ: Mapping[str, str],
        servers: Sequence[Server],
        *,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        cwd: Path | None = None,
    ) -> None:
        self._environ, self._cwd = environ, cwd
        self._servers = servers
        self._say, self._changed = say, changed
        self.roles = {role: Child(role, directory / "logs" / f"{role}.log") for role in ROLES}
        self._backoff = {name: Backoff() for name in (*ROLES, *(server.child.name for server in servers))}

    @property
    def children(self) -> list[Child]:
        """Roles and servers."""
        return [*self.roles.values(), *(server.child for server in self._servers)]

    def start(self) -> None:
        for role in self.roles:
            self._launch(role)
        self._changed()

    def pids(self) -> dict[str, list[int]]:
        """Of everything that runs, by role or server."""
        return {child.name: [child.pid] if child.alive and child.pid else [] for child in self.children}

    async def watch(self) -> None:
        """Until cancelled: starts again what died."""
        while True:
            for server in self._servers:
                await self._revive_server(server)
            for role, child in self.roles.items():
                self._revive_role(role, child)
            await asyncio.sleep(LOOK_EVERY_S)

    async def stop(self, grace_s: float) -> None:
        await asyncio.gather(*(child.stop(grace_s=grace_s) for child in self.roles.values()))

    def _launch(self, role: str) -> None:
        command = [sys.executable, "-m", "gengui_stream.cli", *ROLES[role]]
        self.roles[role].start(command, environ=self._environ, cwd=self._cwd)
        self._backoff[role].started()

    def _revive_role(self, role: str, child: Child) -> None:
        if child.alive or not self._is_due(child):
            return
        self._launch(role)
        self._say(f"{role} runs again, process {child.pid}")
        self._changed()

    async def _revive_server(self, server: Server) -> None:
        if server.child.alive or not self._is_due(server.child):
            return
        try:
            await server.start()
        except TransientError as error:
            self._say(str(error))
            return
        self._backoff[server.child.name].started()
        self._say(f"{server.child.name} runs again, process {server.child.pid}")
        self._changed()

    def _is_due(self, child: Child) -> bool:
        backoff = self._backoff[child.name]
        if not backoff.due_at:
            self._say(f"{child.name} ended ({child.exit_code}); starting it again in {backoff.died():.1f} s")
            return False
        if time.monotonic() < backoff.due_at:
            return False
        backoff.due_at = 0.0
        return True
