"""The services of the compose file as processes: their own commands, environments and health checks, word for word, but
for the names and ports of the network, which become those of the embedded servers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
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
        assert (mapped["DB_HOST"], mapped["DB_PORT"]) == ("postgres", "5432")
        return mapped | {"DB_HOST": "127.0.0.1", "DB_PORT": str(self.postgres_port)}


class Container:
    """One service that is a role. `directory` is its /tmp, the only place where it may write."""

    def __init__(
        self, name: str, document: Document, image: Image, env_file: Mapping[str, str], directory: Path
    ) -> None:
        service = document["services"][name]
        self.name, self.port = name, free_port()
        self._image = image
        self._command: Sequence[str] = service["command"]
        self._environ = {**image.environ, **env_file, **service["environment"]}
        self._tmp, self._cwd = directory / name / "tmp", directory / name / "srv"
        for made in (self._tmp, self._cwd):
            made.mkdir(parents=True)
        self.grace_s = float(service["stop_grace_period"].removesuffix("s"))
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
        return environ | places | {"PORT": port, "METRICS_PORT": port}

    def start(self, network: Network) -> None:
        [program] = self._image.entrypoint
        self.child.start([BIN / program, *self._command], environ=self.environ(network), cwd=self._cwd)

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
