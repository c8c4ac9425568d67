"""`gengui-stream dev` as a process in a directory of its own: the whole system, killed and observed from outside."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from gengui_stream.dev.limits import UNLIMITED
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.settings import Settings, load_settings
from tests.integration.running import eventually

ROLES: Final = ("api", "agents", "live-tables", "dispatch", "worker", "thumbnails", "bridge", "account-jobs")
SERVERS: Final = ("postgres", "valkey", "seaweed", "kafka")

IMPATIENT: Final = {
    "KAFKA_SESSION_TIMEOUT_S": "6",
    "JOB_LEASE_S": "4",
    "WORKER_CLAIM_IDLE_S": "4",
    "SHUTDOWN_GRACE_S": "5",
}
"""What was lost is taken over after seconds, not after half a minute."""

_FOREIGN: Final = frozenset(name.upper() for name in Settings.model_fields)


class DevSystem:
    """Started in `directory`, where a later one finds everything again. `given` are settings, as a user sets them. With
    `reload`, changed code is taken over, which a test that runs from the checkout has no use for."""

    def __init__(self, directory: Path, given: Mapping[str, str] | None = None, *, reload: bool = False) -> None:
        self.directory = directory
        self._options = () if reload else ("--no-reload",)
        self.broken = False
        self._given = {**UNLIMITED, **IMPATIENT, "PORT": str(free_port()), **(given or {})}
        self._dev = Child("dev", directory / "dev.log")

    # its life

    async def start(self) -> None:
        """Returns when it says that it is ready."""
        already = self.said().count(READY)
        self._dev.start(self._command("dev", *self._options), environ=self.environ, cwd=self.directory)

        async def welcomes() -> bool:
            return self.said().count(READY) > already

        await self._dev.until_ready(welcomes, 90)

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the machine's own settings."""
        return {name: value for name, value in os.environ.items() if name not in _FOREIGN} | self._given

    async def stop(self) -> int | None:
        """As Ctrl-C does; its exit code."""
        await self._dev.stop(grace_s=40, how=signal.SIGINT)
        return self._dev.exit_code

    async def kill(self) -> None:
        """SIGKILL to the dev process itself."""
        await self._dev.stop(how=signal.SIGKILL)

    @property
    def alive(self) -> bool:
        return self._dev.alive

    def said(self) -> str:
        """Everything that it printed."""
        return self._dev.log.read_text() if self._dev.log.exists() else ""

    def log(self, role: str) -> Path:
        """Where that role writes."""
        return self.directory / ".gengui" / "logs" / f"{role}.log"

    # its parts

    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.directory / ".gengui" / "stack.json").read_text())
        return found

    @property
    def url(self) -> str:
        return str(self.document()["api"])

    def key(self, name: str = "demo") -> str:
        keys = self.document()["keys"]
        assert isinstance(keys, dict)
        return str(keys[name])

    def pids(self, name: str) -> list[int]:
        pids = self.document()["pids"]
        assert isinstance(pids, dict)
        found: list[int] = pids[name]
        return found

    def signal(self, name: str, number: signal.Signals) -> int:
        """To the one process of that role or server; its id."""
        [pid] = self.pids(name)
        os.kill(pid, number)
        return pid

    def child(self, module: str) -> psutil.Process:
        """The process of that module, which dev itself started."""
        [found] = [process for process in psutil.Process(self._dev.pid).children() if module in process.cmdline()]
        return found

    async def revived(self, name: str, old: int, *, within_s: float = 60) -> None:
        """Until another process runs in its place."""

        async def another() -> bool:
            return any(pid != old for pid in self.pids(name))

        await eventually(another, within_s=within_s)

    async def readiness(self) -> tuple[int, dict[str, str]]:
        """The response of /readyz: the status, and the parts by name. Status 0: no response."""
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{self.url}/readyz") as response:
                return response.status, (await response.json())["checks"]
        except (aiohttp.ClientError, TimeoutError):
            return 0, {}

    async def ready(self, *, within_s: float = 60) -> None:
        async def is_ready() -> bool:
            return (await self.readiness())[0] == 200

        await eventually(is_ready, within_s=within_s)

    # another terminal

    @property
    def settings(self) -> Settings:
        """As a command finds them that is run in the directory."""
        files = (self.directory / ".gengui" / "dev.env", self.directory / ".env")
        return load_settings({}, env_files=files)

    async def command(self, *arguments: str, within_s: float = 90) -> tuple[int, str]:
        """`gengui-stream …` in the directory, with nothing but what it finds there: its exit code and its output."""
        plain = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            env=plain,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), within_s)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        return process.returncode, output.decode()

    def role(self, *arguments: str) -> Child:
        """One more process of a role beside those that dev runs. Stop it."""
        child = Child("-".join(arguments), self.directory / f"{'-'.join(arguments)}-{time.monotonic_ns()}.log")
        child.start(self._command(*arguments), environ=self.environ, cwd=self.directory)
        return child

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gengui_stream.cli", *arguments]


READY: Final = "Ctrl-C stops everything"
