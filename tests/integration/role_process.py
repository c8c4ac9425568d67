"""A role as a process of its own, which a test pauses or kills."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from gengui_stream.dev.forks.client import SUPPORTED
from gengui_stream.dev.processes.child import Child
from gengui_stream.settings import Settings
from tests.integration.command_server import errors_beside
from tests.integration.forking import fork_server
from tests.integration.running import DEADLINE_S


def environment(settings: Settings) -> dict[str, str]:
    """These settings for another process."""
    values = {name: value for name, value in settings.model_dump().items() if value is not None}
    plain = {
        name.upper(): str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
    }
    return {**os.environ, **plain}


class RoleProcess:
    """`gengui-stream` with these arguments, forked from a process that has imported the package; killed at the end if
    it still lives."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self._settings = settings
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        log = Path(self._directory.name, "role.log")
        self._child, environ = Child("role", log), environment(self._settings)
        if SUPPORTED:
            made = await fork_server().fork("gengui-stream", self._arguments, environ=environ, cwd=None, log=log)
            self._child.follow(made)
        else:
            self._child.start([sys.executable, "-m", "gengui_stream.cli", *self._arguments], environ=environ)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._child.stop(how=signal.SIGKILL)
        for output in (self._child.log, errors_beside(self._child.log)):
            if output.exists():
                print(output.read_text(errors="replace"), end="")
        self._directory.cleanup()

    @property
    def alive(self) -> bool:
        return self._child.alive

    def send(self, number: signal.Signals) -> None:
        assert self._child.pid is not None
        os.kill(self._child.pid, number)

    async def stopped(self) -> None:
        """After SIGTERM, unless it has ended already: its group then waits for no session to end."""
        if self.alive:
            self.send(signal.SIGTERM)
        await self.ended()

    async def ended(self, within_s: float = DEADLINE_S) -> int:
        """Its exit code."""
        await asyncio.wait_for(self._child.ended(), within_s)
        assert self._child.exit_code is not None
        return self._child.exit_code
