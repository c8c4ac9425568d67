"""The embedded stack: the servers that are not given, on free ports, in one directory."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import boto3

from gengui_stream.dev.servers import PostgresServer, SeaweedServer, Server, TansuServer, ValkeyServer

LOG_BUCKET: Final = "gengui-log"
REGION: Final = "us-east-1"


class EmbeddedStack:
    """Starts what `given` (the environment and `.env`) does not already name.

    `durable`: the log is kept in the object store and survives everything; otherwise it lives in the broker's memory.
    """

    def __init__(self, directory: Path, *, given: Mapping[str, str] | None = None, durable: bool = False) -> None:
        self._directory = directory.resolve()
        self._given = given or {}
        self._durable = durable
        self.servers: list[Server] = []
        self.environ: dict[str, str] = {}

    async def start(self) -> None:
        """Returns when every part can be used. Raises TransientError with the end of the log of the one that cannot."""
        kept = self._kept_ports()
        broker_wanted = "KAFKA_BOOTSTRAP_SERVERS" not in self._given
        starting = [self._postgres(kept), self._valkey(kept), self._seaweed(kept)]
        await asyncio.gather(*(server.start() for server in starting if server is not None))
        if "S3_ENDPOINT" not in self._given:
            await self._ensure_bucket(LOG_BUCKET)
        if broker_wanted:
            await self._tansu(kept).start()
        self._keep_ports()

    async def stop(self) -> None:
        for server in reversed(self.servers):
            await server.stop()

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"

    def _postgres(self, kept: Mapping[str, int]) -> Server | None:
        if self._given.get("DATABASE_URL") or self._given.get("DB_HOST"):
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

    def _tansu(self, kept: Mapping[str, int]) -> Server:
        store = {**self._given, **self.environ}
        storage = f"s3://{LOG_BUCKET}/" if self._durable and "S3_ENDPOINT" in self.environ else "memory://tansu/"
        environ = {
            "AWS_ENDPOINT": store["S3_ENDPOINT"],
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": store.get("AWS_ACCESS_KEY_ID", ""),
            "AWS_SECRET_ACCESS_KEY": store.get("AWS_SECRET_ACCESS_KEY", ""),
        }
        server = TansuServer(self._log("tansu"), storage, environ, kept.get("tansu"))
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
        (self._directory / "ports.json").write_text(json.dumps(ports))

    async def _ensure_bucket(self, name: str) -> None:
        """Retries for a while: the store listens some seconds before it can make a bucket."""
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(self._make_bucket, name):  # noqa: ASYNC110 - a server, not a task
                await asyncio.sleep(0.2)

    def _make_bucket(self, name: str) -> bool:
        client = boto3.client(
            "s3",
            endpoint_url=self.environ["S3_ENDPOINT"],
            region_name=REGION,
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key=".ready", Body=b"")
        except client.exceptions.BucketAlreadyOwnedByYou:
            return True
        except Exception as error:  # noqa: BLE001 - whatever it says while starting, the deadline decides
            return "BucketAlreadyExists" in repr(error)
        finally:
            client.close()
        return True
