"""The client's end of a fork server: it starts the server, and knows the processes that it forked."""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from gengui_stream.dev.forks.messages import MESSAGE_BYTES, ForkRequest, ProcessState
from gengui_stream.dev.forks.split import split_off
from gengui_stream.dev.processes.child import Child
from gengui_stream.errors import TransientError

SUPPORTED: Final = sys.platform == "linux"
"""On other systems, system libraries do not support a fork without an exec."""

OF_THE_ROLES: Final = "gengui_stream.cli.fork_server"
"""The module that the server runs: it imports what the roles need."""


class ForkServer:
    """Forked processes have the modules of every role imported, share their memory, and end with the server, which ends
    with this process."""

    def __init__(self) -> None:
        # Its log is an anonymous file, since it starts before the directory for logs exists.
        self._child = Child("fork-server", Path(f"/proc/self/fd/{os.memfd_create('fork-server')}"))
        self._control: socket.socket | None = None
        self._requested: deque[asyncio.Future[int]] = deque()
        self._exit_codes: dict[int, int | None] = {}

    def start(self, module: str = OF_THE_ROLES) -> None:
        """Returns at once: `module` imports for a second or two, and the first fork waits for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        command = [sys.executable, "-m", module, str(theirs.fileno())]
        # numpy's linear algebra would start threads, and only a process with one thread can be forked safely.
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._child.start(command, environ=environ, pass_fds=(theirs.fileno(),))
        self._control = ours

    def split_off(self, serve: Callable[[socket.socket], None]) -> None:
        """The server is a fork of this process, with its imported modules, and calls `serve`. Expects a process with
        one thread and no event loop."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs, self._child.log.open("ab") as output:
            pid = split_off(partial(serve, theirs), output=output.fileno(), kept=theirs.fileno())
        self._child.follow(ChildProcess(pid))
        self._control = ours

    async def fork(
        self, name: str, arguments: Sequence[str], *, environ: Mapping[str, str], cwd: Path | None, log: Path
    ) -> "ForkedProcess":
        """A process that runs `gengui-stream` with the arguments. Raises TransientError when the server has ended."""
        loop = asyncio.get_running_loop()
        log.parent.mkdir(parents=True, exist_ok=True)
        request = ForkRequest(name, list(arguments), dict(environ), str(log), str(cwd) if cwd else None)
        if self._control is None:
            raise TransientError("there is no fork server")
        loop.add_reader(self._control, self._read, self._control)
        try:
            self._control.send(request.encode())
        except OSError as error:
            raise TransientError(f"the fork server takes no request: {error}") from error
        self._requested.append(loop.create_future())
        return ForkedProcess(self, await self._requested[-1])

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def exit_code(self, pid: int) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._exit_codes[pid]

    def _read(self, control: socket.socket) -> None:
        try:
            while message := control.recv(MESSAGE_BYTES):
                self._take(ProcessState.decode(message))
        except BlockingIOError:
            return
        except OSError:  # it ended with an unread request
            pass
        self._close()

    def _take(self, state: ProcessState) -> None:
        self._exit_codes[state.pid] = state.exit_code
        if state.exit_code is None and not (requested := self._requested.popleft()).done():
            requested.set_result(state.pid)

    def _close(self) -> None:
        """The end of the server ends its processes."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        for pid, code in self._exit_codes.items():
            self._exit_codes[pid] = -signal.SIGKILL if code is None else code
        while self._requested:
            if not (requested := self._requested.popleft()).done():
                requested.set_exception(TransientError(f"the fork server has ended:\n{self._child.log_tail()}"))

    async def stop(self) -> None:
        """Ends the server and the processes that it forked."""
        await self._child.stop(how=signal.SIGKILL)
        self._close()


def started_fork_server() -> ForkServer | None:
    """None on a system without support. It ends with this process at the latest."""
    if not SUPPORTED:
        return None
    server = ForkServer()
    server.start()
    return server


class ChildProcess:
    """A fork of this process, with the interface of subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit_code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedProcess:
    """A process forked by the server, with the interface of subprocess.Popen."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    def poll(self) -> int | None:
        return self._server.exit_code(self.pid)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
