"""Debian's PostgreSQL with TLS: that of the embedded stack is built without OpenSSL."""

import pwd
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.tls.certificates import POSTGRESQL_ASKS, own, shown_by
from tests.integration.running import eventually
from tests.integration.tls.certificates import HOST, Certificates, Pair

BINARIES: Final = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
"""Debian has them here, by major version."""

USER: Final = "gengui"
CERTIFIED: Final = "certified"
"""A user that needs a certificate with this common name."""

ACCESS: Final = f"""\
hostssl all {CERTIFIED} 127.0.0.1/32 cert
hostssl all {CERTIFIED} ::1/128 cert
host all all 127.0.0.1/32 trust
host all all ::1/128 trust
"""


class PostgresqlWithTls:
    """`owner`: the user that it runs as; None for the user of this process."""

    def __init__(self, folder: Path, certificates: Certificates, owner: pwd.struct_passwd | None) -> None:
        self.port = free_port()
        self._data, self._owner, self._certificates = folder / "data", owner, certificates
        self._child = Child("postgres", folder / "postgres.log")

    def url(self, query: str = "", *, host: str = HOST, user: str = USER) -> str:
        return f"postgresql://{user}@{host}:{self.port}/postgres{query}"

    async def start(self) -> None:
        assert BINARIES is not None
        self._data.mkdir(mode=0o700)
        if self._owner is not None:
            shutil.chown(self._data, self._owner.pw_uid, self._owner.pw_gid)
        initdb = Child("initdb", self._child.log)
        options = ("-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        initdb.start([BINARIES / "initdb", "-D", self._data, *options], user=self._owner, cwd=self._data)
        await initdb.ended()
        assert initdb.exit_code == 0, initdb.log_tail()
        (self._data / "pg_hba.conf").write_text(ACCESS)
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self._options().items())
        self._child.start([BINARIES / "postgres", "-D", self._data], user=self._owner, cwd=self._data)
        await self._child.until_ready(self._answers, 60)
        await self._execute(f"CREATE ROLE {CERTIFIED} LOGIN")

    @asynccontextmanager
    async def expired(self) -> AsyncIterator[None]:
        """With a certificate that has expired, during the block."""
        pair = self._certificates.expired
        names = {"ssl_cert_file": pair.certificate, "ssl_key_file": pair.key}
        await self._execute(*(f"ALTER SYSTEM SET {name} = '{path}'" for name, path in names.items()))
        try:
            await self._reload(pair)
            yield
        finally:
            await self._execute("ALTER SYSTEM RESET ALL")
            await self._reload(self._certificates.server)

    async def _reload(self, pair: Pair) -> None:
        await self._execute("SELECT pg_reload_conf()")
        expected = own(pair.certificate)

        async def shown() -> bool:
            return await shown_by(HOST, self.port, starting=POSTGRESQL_ASKS) == expected

        await eventually(shown)

    def _options(self) -> dict[str, object]:
        pair = self._certificates.server
        return {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_ca_file": self._certificates.ca,
            "ssl_cert_file": pair.certificate,
            "ssl_key_file": pair.key,
        }

    async def _answers(self) -> bool:
        try:
            await self._execute("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url("?sslmode=disable"), timeout=5)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def stop(self) -> None:
        await self._child.stop(how=signal.SIGQUIT)
