"""Containers as processes: the commands, environments and health checks of the compose file and of the pods, word for
word, but for the names and ports of the network, which become those of the embedded servers."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from tests.deploy.compose_file import Document
from tests.deploy.image import Image

INSIDE: Final = "3000"
"""The port of every role in its container."""

BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses here of the servers in the compose file."""

    kafka: str
    postgres_port: int
    redis: str
    objects: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Network":
        places = {name: urlsplit(environ[name]) for name in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")}
        port = places["DATABASE_URL"].port
        assert port is not None
        return cls(environ["KAFKA_BOOTSTRAP_SERVERS"], port, places["REDIS_URL"].netloc, places["S3_ENDPOINT"].netloc)

    def mapped(self, environ: Mapping[str, str]) -> dict[str, str]:
        places = {
            "kafka:9092": self.kafka,
            "redis:6379": self.redis,
            "objects:8333": self.objects,
            "localhost:8333": self.objects.replace("127.0.0.1", "localhost"),
        }
        mapped = dict(environ)
        for inside, here in places.items():
            mapped = {name: value.replace(inside, here) for name, value in mapped.items()}
        if "DB_HOST" not in mapped:  # of a container without PostgreSQL
            return mapped
        assert (mapped["DB_HOST"], mapped.get("DB_PORT", "5432")) == ("postgres", "5432")
        return mapped | {"DB_HOST": "127.0.0.1", "DB_PORT": str(self.postgres_port)}


@dataclass(frozen=True, slots=True)
class Service:
    """What an orchestrator starts: the arguments of the image's entry point, the variables, and the seconds to stop."""

    command: Sequence[str]
    environ: Mapping[str, str]
    grace_s: float

    @classmethod
    def of_compose(cls, name: str, document: Document, env_file: Mapping[str, str]) -> "Service":
        service = document["services"][name]
        grace_s = float(service["stop_grace_period"].removesuffix("s"))
        return cls(service["command"], {**env_file, **service["environment"]}, grace_s)


class Container:
    """One process of the image. `directory` has its /tmp, the only place where it may write."""

    def __init__(self, name: str, service: Service, image: Image, directory: Path) -> None:
        self.name, self.port, self.api_metrics_port = name, free_port(), free_port()
        self.grace_s = service.grace_s
        self._image, self._command = image, service.command
        self._environ = {**image.environ, **service.environ}
        self._tmp, self._cwd = directory / name / "tmp", directory / name / "srv"
        for made in (self._tmp, self._cwd):
            made.mkdir(parents=True)
        self.child = Child(name, directory / "logs" / f"{name}.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environ(self, network: Network) -> dict[str, str]:
        """The environment of the container, with the PATH of this process and nothing else of it."""
        environ = network.mapped(self._environ)
        assert (environ["PORT"], environ["METRICS_PORT"], environ["HOME"]) == (INSIDE, INSIDE, "/tmp")
        port = str(self.port)
        places = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(self._tmp), "TMPDIR": str(self._tmp)}
        ports = {"PORT": port, "METRICS_PORT": port}
        own = {"API_METRICS_PORT": str(self.api_metrics_port)} if "API_METRICS_PORT" in environ else {}
        return environ | places | ports | own

    def start(self, network: Network) -> None:
        [program] = self._image.entrypoint
        self.child.start([BIN / program, *self._command], environ=self.environ(network), cwd=self._cwd)

    @asynccontextmanager
    async def running(self, network: Network) -> AsyncIterator[Self]:
        self.start(network)
        try:
            yield self
        finally:
            await self.child.stop(grace_s=0)

    async def end(self) -> None:
        """Ends it as a container engine does: by SIGTERM, within its time, with exit code 0."""
        assert self.child.pid is not None
        assert self.written_outside() == []
        os.kill(self.child.pid, signal.SIGTERM)
        async with asyncio.timeout(self.grace_s):
            await self.child.ended()
        assert self.child.exit_code == 0, self.child.log_tail()
        assert "settings_unknown" not in self.child.log.read_text(), "a variable of the file is read by nothing"

    async def run(self, network: Network, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command in the same container, as `docker compose exec` runs it."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environ(network),
            cwd=self._cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())

    async def healthy(self, network: Network) -> bool:
        """Whether the image's health check passes. Fails when the process has ended."""
        self.child.check_alive()
        here = [word.replace(f"127.0.0.1:{INSIDE}", f"127.0.0.1:{self.port}") for word in self._image.healthcheck]
        assert here != self._image.healthcheck
        checked = await self.run(network, str(BIN / here[0]), *here[1:])
        assert "Traceback" not in checked.stdout + checked.stderr
        return checked.returncode == 0

    def written_outside(self) -> list[str]:
        """Files that are open for writing outside its /tmp, and the files in its directory."""
        opened = [path for path in map(_opened_for_writing, Path(f"/proc/{self.child.pid}/fd").iterdir()) if path]
        strange = [path for path in opened if not path.is_relative_to(self._tmp) and path != self.child.log.resolve()]
        return [str(path) for path in [*strange, *self._cwd.iterdir()]]


def _opened_for_writing(descriptor: Path) -> Path | None:
    """The regular file of a descriptor; None for anything else, and if it was closed meanwhile."""
    try:
        lines = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text().splitlines()
        target = descriptor.readlink()
    except FileNotFoundError:
        return None
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    return target if flags & (os.O_WRONLY | os.O_RDWR) and target.is_file() else None
