"""The embedded stack: the servers that the settings do not name, on free ports, in one directory."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from gengui_stream.dev.disk import check_room
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.dev.postgres.server import PostgresServer
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.seaweed_server import REGION, SeaweedServer
from gengui_stream.dev.servers import Server, ValkeyServer

Part: TypeAlias = Literal["kafka", "postgres", "valkey", "seaweed"]

ADDRESSES: Final[Mapping[Part, Sequence[str]]] = {
    "kafka": ("KAFKA_BOOTSTRAP_SERVERS",),
    "postgres": ("DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
    "valkey": ("REDIS_URL",),
    "seaweed": ("S3_ENDPOINT",),
}
"""Settings that name a server: if one of them is set, that server is not started."""


class EmbeddedStack:
    """Starts the servers that `given` (the environment and `.env`) does not name. Their data is in
    `directory`. `say` is called with a message before slow steps. `environ`: the settings with the addresses of the
    servers, known before they start."""

    def __init__(
        self,
        directory: Path,
        *,
        given: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory = directory.resolve()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._given = given or {}
        self._say = say
        self._parts: dict[Part, Server] = {}
        self.environ: dict[str, str] = {}
        self._assign(self._kept_ports())

    @property
    def servers(self) -> list[Server]:
        return list(self._parts.values())

    async def launch(self) -> None:
        """Launches the servers, which load while this process continues; `start` waits for them."""
        await _all(server.launch() for server in self.servers)

    async def start(self, after: Mapping[Part, Callable[[], Awaitable[None]]] = MappingProxyType({})) -> None:
        """Returns when every server is available. Raises TransientError or ConfigurationError with the reason of the
        one that is not. `after`: the steps to run once a server is available, started here or given."""
        if self._parts:
            check_room(self._directory)
        await _all(self._start(part, after.get(part)) for part in get_args(Part))
        self._keep_ports()

    async def _start(self, part: Part, after: Callable[[], Awaitable[None]] | None) -> None:
        if part in self._parts:
            await self._parts[part].start()
        if after is not None:
            await after()

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.servers))

    async def kill(self) -> None:
        """Faster than `stop`, when the servers' data is not needed."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"

    def _assign(self, kept: Mapping[str, int]) -> None:
        """Each server to start, with its address."""
        parts: Mapping[Part, Callable[[int | None], Server]] = {
            "kafka": self._kafka,
            "postgres": self._postgres,
            "valkey": self._valkey,
            "seaweed": self._seaweed,
        }
        for part, assign in parts.items():
            if not any(self._given.get(name) for name in ADDRESSES[part]):
                self._parts[part] = assign(kept.get(part))

    def _kafka(self, kept: int | None) -> Server:
        server = KafkaServer(self._directory / "kafka", self._log("kafka"), kept, say=self._say)
        self.environ |= {"KAFKA_BOOTSTRAP_SERVERS": server.address, "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
        return server

    def _postgres(self, kept: int | None) -> Server:
        server = PostgresServer(self._directory / "postgres", self._log("postgres"), kept)
        self.environ["DATABASE_URL"] = server.url
        return server

    def _valkey(self, kept: int | None) -> Server:
        server = ValkeyServer(self._directory / "valkey", self._log("valkey"), kept)
        self.environ["REDIS_URL"] = server.url
        return server

    def _seaweed(self, kept: int | None) -> Server:
        server = SeaweedServer(self._directory / "seaweed", self._log("seaweed"), kept)
        self.environ |= {
            "S3_ENDPOINT": server.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        return server

    def _kept_ports(self) -> dict[str, int]:
        """Addresses stay the same over restarts if possible, so that clients find the servers again."""
        path = self._directory / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return ports

    def _keep_ports(self) -> None:
        ports = {server.child.name: server.port for server in self.servers}
        write_private(self._directory / "ports.json", json.dumps(ports))


async def _all(operations: Iterable[Coroutine[None, None, None]]) -> None:
    """Runs concurrently. When one fails, the others are cancelled, and none starts a process afterwards."""
    tasks = [asyncio.ensure_future(operation) for operation in operations]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
