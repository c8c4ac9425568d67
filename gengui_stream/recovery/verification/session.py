"""The connection of a verification: every statement is a transaction of its own, and the server ends a longer one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from gengui_stream.postgres.connecting import connect_arguments
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.settings import Settings

APPLICATION_NAME: Final = "gengui-stream verify"

SERVER_SETTINGS: Final = {
    "application_name": APPLICATION_NAME,
    "timezone": "UTC",
    "jit": "off",
    # An old snapshot stops PostgreSQL from removing old row versions.
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "1s",
    "default_transaction_read_only": "on",
}


@asynccontextmanager
async def opened_session(settings: Settings) -> AsyncIterator[Connection]:
    """Raises TransientError when the server is unavailable."""
    with transient_errors(settings.database_dsn):
        address = settings.database_direct_address or settings.database_address
        connection = await asyncpg.connect(
            **connect_arguments(address, timeout_s=settings.db_connect_timeout, server_settings=SERVER_SETTINGS)
        )
        try:
            yield connection
        finally:
            connection.terminate()
