"""Pools of connections, and which of PostgreSQL's errors may pass by themselves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.settings import Settings

# Quoted: only the stubs are generic.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""Gone when the server is back, or when the other transaction is over. InterfaceError: the connection was closed;
InternalClientError: it was closed between the parts of one command."""

SERVER_SETTINGS: Final = {
    "application_name": "gengui-stream",
    "timezone": "UTC",
    "jit": "off",
    # A paused process would keep the rows of its partitions locked from their next owner for as long as it lives.
    "idle_in_transaction_session_timeout": "5s",
}


async def _no_reset(_: object) -> None:
    """asyncpg resets the session at each release, which costs half of a point read. Nothing of ours leaves session
    state behind (no SET but SET LOCAL, no session advisory lock, no LISTEN, no temporary table)."""


async def open_pool(settings: Settings, *, size: int | None = None) -> Pool:
    """A pool of at most DB_POOL_MAX (or `size`) connections. Raises TransientError when there is no server."""
    with transient_errors():
        pool = asyncpg.create_pool(
            settings.database_dsn,
            min_size=1,
            max_size=size or settings.db_pool_max,
            max_inactive_connection_lifetime=settings.db_idle_timeout,
            timeout=settings.db_connect_timeout,
            command_timeout=60,
            reset=_no_reset,
            server_settings=SERVER_SETTINGS,
        )
        return await pool


@asynccontextmanager
async def opened_pool(settings: Settings, *, size: int | None = None) -> AsyncIterator[Pool]:
    """`open_pool`, closed at the end: at once where connections are still busy after five seconds."""
    pool = await open_pool(settings, size=size)
    try:
        yield pool
    finally:
        try:
            await _close(pool)
        except TimeoutError:
            pool.terminate()


async def _close(pool: Pool) -> None:
    async with asyncio.timeout(5):
        await pool.close()


@contextmanager
def transient_errors() -> Iterator[None]:
    """Turns PostgreSQL's passing errors into TransientError, and a URL that asyncpg does not take into
    ConfigurationError; the others fly on."""
    try:
        yield
    except TRANSIENT as error:
        if isinstance(error, ClientConfigurationError):
            raise ConfigurationError([f"DATABASE_URL: {error}"]) from error
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
            raise  # asyncpg's own DataError: an argument that no server would ever take
        raise TransientError(f"PostgreSQL: {type(error).__name__}: {error}") from error
