"""Commands of an operator on the system under test, as new interpreters or as forks of one that has the imports."""

import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gengui_stream.dev.forks.client import SUPPORTED, ForkServer
from gengui_stream.dev.processes.child import Child


@asynccontextmanager
async def started_forks(module: str | None) -> AsyncIterator[ForkServer | None]:
    """The fork server of the module; None without a module, and where forks are not supported."""
    if module is None or not SUPPORTED:
        yield None
        return
    server = ForkServer()
    server.start(module)
    try:
        yield server
    finally:
        await server.stop()


@dataclass(frozen=True, slots=True)
class Commands:
    """`directory`: for what they print."""

    environ: Mapping[str, str]
    directory: Path
    forks: ForkServer | None

    async def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code of `gengui-stream …`, and what it printed."""
        environ = {**self.environ, "LOG_LEVEL": "warning"}
        child = Child("command", self.directory / f"command-{time.monotonic_ns()}.log")
        if self.forks is None:
            child.start([sys.executable, "-m", "gengui_stream.cli", *arguments], environ=environ)
        else:
            child.follow(await self.forks.fork("command", arguments, environ=environ, cwd=None, log=child.log))
        await child.ended()
        return child.exit_code or 0, child.log.read_text(errors="replace")
