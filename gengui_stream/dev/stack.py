"""The embedded stack: the servers that are not given, on free ports, in one directory."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from gengui_stream.dev import log_bucket
from gengui_stream.dev.postgres.server import PostgresServer
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.seaweed_server import SeaweedServer
from gengui_stream.dev.servers import Server, TansuServer, ValkeyServer
from gengui_stream.errors import TransientError

STORE_WITHIN_S: Final = 60.0
PLACES_OF_A_DATABASE: Final = ("DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")


class EmbeddedStack:
    """Starts what `given` (the environment and `.env`) does not already name.

    `durable`: the log is kept in the object store and survives everything; otherwise it lives in the broker's memory.
    `say` is told what people should know.
    """

    def __init__(
        self,
        directory: Path,
        *,
        given: Mapping[str, str] | None = None,
        durable: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory = directory.resolve()
        self._given = given or {}
        self._durable = durable
        self._say = say
        self._broker_given = bool(self._given.get("KAFKA_BOOTSTRAP_SERVERS"))
        self._keeps_log = durable and not self._broker_given
        self.servers: list[Server] = []
        self.environ: dict[str, str] = {}

    async def start(self) -> None:
        """Returns when every part can be used. Raises TransientError with the end of the log of the one that cannot."""
        kept = self._kept_ports()
        starting = [self._postgres(kept), self._valkey(kept), self._seaweed(kept)]
        await asyncio.gather(*(server.start() for server in starting if server is not None))
        if "S3_ENDPOINT" in self.environ or self._keeps_log:
            await self._ensure_bucket()
        if not self._broker_given:
            await self._tansu(kept).start()
        self._keep_ports()

    async def stop(self) -> None:
        """The broker first: it writes into the store."""
        brokers = [server for server in self.servers if isinstance(server, TansuServer)]
        others = [server for server in self.servers if server not in brokers]
        for group in (brokers, others):
            await asyncio.gather(*(server.stop() for server in group))

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
            "AWS_REGION": log_bucket.REGION,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        return self._started_with(server)

    def _tansu(self, kept: Mapping[str, int]) -> Server:
        storage = f"s3://{log_bucket.BUCKET}/" if self._durable else "memory://tansu/"
        environ = {
            "AWS_ENDPOINT": self._store["S3_ENDPOINT"],
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": log_bucket.REGION,
        }
        environ |= {name: value for name, value in self._store.items() if name.startswith("AWS_")}
        server = TansuServer(self._log("tansu"), storage, environ, kept.get("tansu"), before=self.mend_log)
        self.environ["KAFKA_BOOTSTRAP_SERVERS"] = server.address
        return self._started_with(server)

    @property
    def _store(self) -> Mapping[str, str]:
        """Where the object store is and how to get in, given or started."""
        return {**self._given, **self.environ}

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

    async def _ensure_bucket(self) -> None:
        def made() -> None:
            with log_bucket.LogBucket(self._store) as bucket:
                bucket.ensure()

        await self._once_the_store_can(lambda: asyncio.to_thread(made))

    async def _once_the_store_can(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Retries for a while: the store listens some seconds before it can do anything."""
        failure = "it does not answer"
        try:
            async with asyncio.timeout(STORE_WITHIN_S):
                while True:
                    try:
                        return await attempt()
                    except TransientError as error:
                        failure = str(error)
                    for server in self.servers:
                        if isinstance(server, SeaweedServer):
                            server.child.check_alive()
                    await asyncio.sleep(0.2)
        except TimeoutError as error:
            raise TransientError(f"the log's bucket {log_bucket.BUCKET} cannot be used: {failure}") from error

    async def mend_log(self) -> None:
        """Fills the holes that a killed broker, or a store that was away, has left in a log that is kept. Raises
        TransientError when the store stays away."""
        if self._keeps_log:
            await self._once_the_store_can(self._fill_holes)

    async def _fill_holes(self) -> None:
        if filled := await log_bucket.fill_holes(self._store):
            places = ", ".join(map(str, filled))
            self._say(f"the broker had left holes in its log; there are empty records in them now: {places}")
