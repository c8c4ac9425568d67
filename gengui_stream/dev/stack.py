"""The embedded stack: the servers that are not given, on free ports, in one directory."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.dev.postgres.server import PostgresServer
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.seaweed_server import REGION, SeaweedServer
from gengui_stream.dev.servers import Server, ValkeyServer

PLACES_OF_A_DATABASE: Final = ("DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")


class EmbeddedStack:
    """Starts what `given` (the environment and `.env`) does not already name. What the servers hold is kept in
    `directory`. `say` gets a line for people when something takes long."""

    def __init__(
        self,
        directory: Path,
        *,
        given: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory = directory.resolve()
        self._given = given or {}
        self._say = say
        self.servers: list[Server] = []
        self.environ: dict[str, str] = {}

    async def start(self) -> None:
        """Returns when every part can be used. Raises TransientError or ConfigurationError with the reason of the one
        that cannot."""
        kept = self._kept_ports()
        starting = [self._kafka(kept), self._postgres(kept), self._valkey(kept), self._seaweed(kept)]
        await _all(server.start() for server in starting if server is not None)
        self._keep_ports()

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.servers))

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"

    def _postgres(self, kept: Mapping[str, int]) -> Server | None:
        if any(self._given.get(name) for name in PLACES_OF_A_DATABASE):
            return None
        server = PostgresServer(self._directory / "postgres", self._log("postgres"), kept.get("postgres"))
        self.environ["DATABASE_URL"] = server.url
        return self._started_with(server)

    def _valkey(self, kept: Mapping[str, int]) -> Server | None:
        if self._given.get("REDIS_URL"):
            return None
        server = ValkeyServer(self._directory / "valkey", self._log("valkey"), kept.get("valkey"))
        self.environ["REDIS_URL"] = server.url
        return self._started_with(server)

    def _seaweed(self, kept: Mapping[str, int]) -> Server | None:
        if self._given.get("S3_ENDPOINT"):
            return None
        self._directory.mkdir(parents=True, exist_ok=True)
        server = SeaweedServer(self._directory / "seaweed", self._log("seaweed"), kept.get("seaweed"))
        self.environ |= {
            "S3_ENDPOINT": server.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        return self._started_with(server)

    def _kafka(self, kept: Mapping[str, int]) -> Server | None:
        if self._given.get("KAFKA_BOOTSTRAP_SERVERS"):
            return None
        server = KafkaServer(self._directory / "kafka", self._log("kafka"), kept.get("kafka"), say=self._say)
        self.environ["KAFKA_BOOTSTRAP_SERVERS"] = server.address
        return self._started_with(server)

    def _started_with(self, server: Server) -> Server:
        self.servers.append(server)
        return server

    def _kept_ports(self) -> dict[str, int]:
        """Addresses stay the same over restarts where they can, so that clients find the servers again."""
        path = self._directory / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return ports

    def _keep_ports(self) -> None:
        ports = {server.child.name: server.port for server in self.servers}
        write_private(self._directory / "ports.json", json.dumps(ports))


async def _all(operations: Iterable[Coroutine[None, None, None]]) -> None:
    """Side by side. When one fails the others are cancelled: none starts a process afterwards."""
    tasks = [asyncio.ensure_future(operation) for operation in operations]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
