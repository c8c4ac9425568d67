"""Processes of a release beside those of another, each started again when it crashes, as a supervisor does."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from gengui_stream.dev.processes.child import Child
from gengui_stream.settings import Settings
from tests.integration.role_process import environment
from tests.integration.running import eventually

CRASHED = 70


class Release:
    """`code`: the directory of its packages; `directory`: for the logs of its processes."""

    def __init__(self, name: str, code: Path, directory: Path, settings: Settings) -> None:
        directory.mkdir()
        self._name, self._directory = name, directory
        self._environ = {**environment(settings), "PYTHONPATH": str(code)}
        self._roles: dict[str, Child] = {}
        self._supervising: dict[str, asyncio.Task[None]] = {}
        self.crashes: dict[str, int] = {}

    async def command(self, *arguments: str) -> Mapping[str, object]:
        """What the command prints, as JSON."""
        process = await asyncio.create_subprocess_exec(
            *_command(*arguments), env=self._environ, cwd=self._directory, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        found: dict[str, object] = json.loads(output)
        return found

    def start(self, *roles: str) -> None:
        for role in roles:
            self._roles[role] = Child(role, self._directory / f"{self._name}-{role}.log")
            self._start(role)
            self._supervising[role] = asyncio.create_task(self._supervise(role))

    def _start(self, role: str) -> None:
        self._roles[role].start(_command(role), environ=self._environ, cwd=self._directory)

    async def _supervise(self, role: str) -> None:
        child = self._roles[role]
        while True:
            await child.ended()
            assert child.exit_code == CRASHED, child.log_tail()
            self.crashes[role] = self.crashes.get(role, 0) + 1
            self._start(role)

    async def generations_url(self) -> str:
        """Of the API, once it serves."""

        async def listening() -> str:
            log = self._roles["api"].log
            found = re.search(r'"port": (\d+), "event": "listening"', log.read_text() if log.exists() else "")
            return found[1] if found else ""

        async def ready() -> bool:
            async with http.get(f"{url}/readyz") as response:
                return response.status == 200

        url = f"http://127.0.0.1:{await eventually(listening)}"
        async with aiohttp.ClientSession() as http:
            await eventually(ready)
        return f"{url}/v1/generations"

    async def stop(self) -> None:
        """SIGTERM to every process; each must end by itself."""
        roles = list(self._supervising)
        await asyncio.gather(*map(self._stop, roles))
        codes = {role: self._roles[role].exit_code for role in roles}
        assert codes == dict.fromkeys(roles, 0), [self._roles[role].log_tail() for role in roles if codes[role]]

    async def end(self) -> None:
        """After a failed test: prints the end of each log, and waits for each process."""
        for role in list(self._supervising):
            print(self._roles[role].log_tail())
            await asyncio.wait({asyncio.ensure_future(self._stop(role))})

    async def _stop(self, role: str) -> None:
        supervising = self._supervising.pop(role)
        supervising.cancel()
        await asyncio.wait({supervising})
        if not supervising.cancelled():
            supervising.result()
        await self._roles[role].stop(grace_s=30)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gengui_stream.cli", *arguments]


@asynccontextmanager
async def release(name: str, code: Path, directory: Path, settings: Settings) -> AsyncIterator[Release]:
    """Its processes have ended at the end; an orderly end is up to the caller."""
    made = Release(name, code, directory, settings)
    try:
        yield made
    finally:
        await made.end()
