"""A child process that ends with its parent, even when the parent is killed."""

import asyncio
import pwd
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from gengui_stream.dev.processes.parent_death import end_with_parent
from gengui_stream.errors import TransientError
from gengui_stream.process.ready_file import READY_FILE

LOG_TAIL_LINES: Final = 15
LOOK_EVERY_S: Final = 0.03


class Process(Protocol):
    """The used part of subprocess.Popen."""

    pid: int

    def poll(self) -> int | None: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


class Child:
    """One process with its log file. Start children from the main thread, as they end with that thread. `before_exec`:
    another way to end with the parent than the system's default."""

    def __init__(self, name: str, log: Path, *, before_exec: Callable[[], None] | None = None) -> None:
        self.name = name
        self.log = log
        self._ready_file = log.with_suffix(".ready").absolute()
        self._before_exec = before_exec
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before its start; negative: the signal that ended it."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def check_alive(self) -> None:
        """Raises TransientError with the end of the log when it has died."""
        if not self.alive:
            raise TransientError(f"{self.name} ended with code {self.exit_code}:\n{self.log_tail()}")

    def readiness_environ(self) -> dict[str, str]:
        """The environment for a process that announces that it is ready."""
        self._ready_file.unlink(missing_ok=True)
        return {READY_FILE: str(self._ready_file)}

    @property
    def announced_ready(self) -> bool:
        """Whether it runs and has announced that it is ready."""
        return self.alive and self._ready_file.exists()

    def start(
        self,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        user: pwd.struct_passwd | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=cwd,
                pass_fds=pass_fds,
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=[] if user is not None else None,
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children in order
                preexec_fn=self._before_exec or end_with_parent(),  # noqa: PLW1509 - one system call
            )

    def follow(self, process: Process) -> None:
        """Adopts a process that was started elsewhere with this log."""
        self._process = process

    async def until_ready(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Raises TransientError with the end of the log when it dies or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not await ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise TransientError(f"{self.name} was not ready within {seconds} s:\n{self.log_tail()}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def stop(self, *, grace_s: float = 10, how: signal.Signals = signal.SIGTERM) -> None:
        """Sends SIGTERM, waits, then kills the process."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            async with asyncio.timeout(grace_s):
                await self.ended()
        except TimeoutError:
            self._process.kill()
            await self.ended()

    async def ended(self) -> None:
        """Waits for its end."""
        while self.alive:  # noqa: ASYNC110 - a waiting thread would hinder the next fork
            await asyncio.sleep(LOOK_EVERY_S)

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(no output)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
