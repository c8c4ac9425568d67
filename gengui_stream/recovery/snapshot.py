"""A snapshot of the database, read in order and in chunks, with which a verification compares the log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.settings import Settings

CHUNK: Final = 5_000


@asynccontextmanager
async def opened_snapshot(settings: Settings) -> AsyncIterator[Connection]:
    """A dedicated connection without a time limit, in a transaction that sees the database as of now until it is
    closed."""
    with transient_errors(settings.database_dsn):
        connection = await asyncpg.connect(
            settings.database_dsn,
            timeout=settings.db_connect_timeout,
            server_settings={"application_name": "gengui-stream verify", "timezone": "UTC", "jit": "off"},
        )
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SET LOCAL work_mem = '64MB'")
                yield connection
        finally:
            connection.terminate()


class OrderedRows:
    """A server-side cursor over rows in the order of `log_offset`, read in chunks along with the log."""

    def __init__(self, cursor: "asyncpg.cursor.Cursor[asyncpg.Record]") -> None:
        self._cursor = cursor
        self._rows: list[asyncpg.Record] = []
        self._exhausted = False

    @classmethod
    async def open(cls, connection: Connection, query: str, *arguments: object) -> "OrderedRows":
        return cls(await connection.cursor(query, *arguments))

    async def before(self, offset: int) -> list[asyncpg.Record]:
        """The next rows with a `log_offset` below this one."""
        while not self._exhausted and (not self._rows or self._rows[-1]["log_offset"] < offset):
            await self._fetch()
        split = next((i for i, row in enumerate(self._rows) if row["log_offset"] >= offset), len(self._rows))
        taken, self._rows = self._rows[:split], self._rows[split:]
        return taken

    async def rest(self) -> AsyncIterator[asyncpg.Record]:
        """The remaining rows, at and after the checkpoint, which should not exist."""
        while self._rows or not self._exhausted:
            for row in self._rows:
                yield row
            self._rows = []
            await self._fetch()

    async def _fetch(self) -> None:
        rows = await self._cursor.fetch(CHUNK)
        self._exhausted = len(rows) < CHUNK
        self._rows += rows
