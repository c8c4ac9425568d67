"""A connection on which the statements of the read models run in the shadow schema."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

import asyncpg
from asyncpg.transaction import Transaction

from gengui_stream.postgres.connecting import connect_arguments
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.settings import Settings

LIVE: Final = "projections"
SHADOW: Final = "projections_next"
RETIRED: Final = "projections_before"
"""What was live before the last swap, for a rollback."""

COMMAND_TIMEOUT_S: Final = 300.0

SERVER_SETTINGS: Final = {
    "application_name": "gengui-stream rebuild",
    "timezone": "UTC",
    "jit": "off",
    # The checkpoint is in the same transaction as the rows: a crash of the server loses both.
    "synchronous_commit": "off",
    "maintenance_work_mem": "256MB",
}

_LIVE_NAME: Final = re.compile(rf"\b{LIVE}\.")


@lru_cache
def in_shadow(statement: str) -> str:
    """The statement with the tables of the shadow schema in the place of the live ones."""
    return _LIVE_NAME.sub(f"{SHADOW}.", statement)


class ShadowConnection:
    """Runs statements that name the live tables on those of the shadow schema. For one task at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]:
        return await self._connection.fetch(in_shadow(query), *args)

    async def execute(self, query: str, /, *args: object) -> str:
        return await self._connection.execute(in_shadow(query), *args)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        await self._connection.copy_records_to_table(table, schema_name=SHADOW, columns=columns, records=rows)

    async def copy_encoded(self, table: str, columns: Sequence[str], encoded: bytes) -> None:
        """A whole COPY in the binary format."""

        async def source() -> AsyncIterator[bytes]:
            yield encoded

        await self._connection.copy_to_table(
            table, schema_name=SHADOW, columns=columns, source=source(), format="binary"
        )

    def transaction(self) -> Transaction:
        return self._connection.transaction()


@asynccontextmanager
async def opened_session(settings: Settings, *, idle_s: int = 60) -> AsyncIterator[Connection]:
    """A session of the server itself: locks of a session and long statements do not go through a pooler. `idle_s`:
    after which the server ends it within a transaction; 0: never. Raises TransientError when the server is
    unavailable."""
    with transient_errors(settings.database_dsn):
        address = settings.database_direct_address or settings.database_address
        own = {**SERVER_SETTINGS, "idle_in_transaction_session_timeout": f"{idle_s}s"}
        arguments = connect_arguments(address, timeout_s=settings.db_connect_timeout, server_settings=own)
        connection = await asyncpg.connect(**arguments, command_timeout=COMMAND_TIMEOUT_S)
        try:
            yield connection
        finally:
            connection.terminate()
