"""In `dev`: receives changes from the watching process, and restarts the affected roles."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gengui_stream.dev.processes.supervisor import Backoff, Supervisor
from gengui_stream.dev.reload.messages import Change
from gengui_stream.process.background import background_task

COMMAND: Final = (sys.executable, "-m", "gengui_stream.dev.reload")
NAMED_FILES: Final = 3


@dataclass(frozen=True, slots=True)
class Reloader:
    """`environ` returns the current environment of the roles, or None if `.env` has faults, which it prints."""

    supervisor: Supervisor
    environ: Callable[[], Mapping[str, str] | None]
    grace_s: float
    say: Callable[[str], None]

    async def take(self, change: Change) -> None:
        """Returns when the roles have been restarted; one change is handled at a time."""
        files = _brief(change.files)
        if change.faults:
            for fault in change.faults:
                self.say(f"{fault}; the roles keep their current code")
        elif change.environment:
            if (environ := self.environ()) is not None:
                self.say(f"{files} changed: restarting every role")
                await self.supervisor.restart(list(self.supervisor.roles), self.grace_s, environ=environ)
        elif change.roles:
            self.say(f"{files} changed: restarting {', '.join(change.roles)}")
            await self.supervisor.restart(change.roles, self.grace_s)
        else:
            self.say(f"{files} changed: no role imports it")


def _brief(files: Sequence[str]) -> str:
    more = len(files) - NAMED_FILES
    return ", ".join(files[:NAMED_FILES]) + (f" and {more} more" if more > 0 else "")


@asynccontextmanager
async def reloading(reloader: Reloader, log: Path) -> AsyncIterator[None]:
    """Handles changes until the context ends. `log` has the errors of the watching process."""
    async with background_task(lambda _: _watch(reloader, log)):
        yield


async def _watch(reloader: Reloader, log: Path) -> None:
    """Returns when the watching process ends by itself. A killed one is restarted."""
    backoff = Backoff()
    while (code := await _watched(reloader, log)) < 0:
        reloader.say(
            f"the watcher of the code ended ({code}); starting it again: a change made meanwhile may be missed"
        )
        await asyncio.sleep(backoff.died())
        backoff.started()
    reloader.say(f"changes of the code are not noticed any more: {log} says why")


async def _watched(reloader: Reloader, log: Path) -> int:
    """Returns the exit code of the watching process once it has ended."""
    with _started(log) as watching:
        try:
            await _take_all(watching, reloader)
        except asyncio.CancelledError:
            watching.kill()
            raise
        return watching.wait()


def _started(log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as errors:
        return subprocess.Popen(
            COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )


async def _take_all(watching: "subprocess.Popen[bytes]", reloader: Reloader) -> None:
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), watching.stdout
    )
    try:
        while line := await lines.readline():
            await reloader.take(Change.decode(line))
    finally:
        transport.close()
