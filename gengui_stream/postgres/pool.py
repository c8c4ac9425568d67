"""Connection pools, and the classification of PostgreSQL's errors as transient."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import asyncpg
from asyncpg.exceptions import ClientConfigurationError
from asyncpg.pool import PoolAcquireContext

from gengui_stream.errors import ConfigurationError, TlsError, TransientError, is_closed_connection, reason
from gengui_stream.postgres.connecting import APPLICATION, POOLER_FOUND, SERVER_SETTINGS, connect_arguments
from gengui_stream.settings import Settings
from gengui_stream.tls.refusals import POSTGRESQL, refusal

if TYPE_CHECKING:  # only the stubs are generic
    _AsyncpgPool = asyncpg.Pool[asyncpg.Record]
else:
    _AsyncpgPool = asyncpg.Pool

# Quoted, for the same reason.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

PoolOrConnection: TypeAlias = (
    "asyncpg.Pool[asyncpg.Record] | asyncpg.Connection[asyncpg.Record] | "
    "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
"""For one statement: with a connection, in the transaction that is open there."""


class Fetcher(Protocol):
    """What only reads rows needs: a pool, a connection, or a rebuild's connection to its own tables."""

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]: ...


class Executor(Protocol):
    """What runs one statement needs."""

    async def execute(self, query: str, /, *args: object) -> str: ...


LOST_STATEMENT: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""Only a pooler in transaction mode causes them: the statement was prepared in another session."""

TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a primary has become a replica
    asyncpg.IdleInTransactionSessionTimeoutError,  # 25P03
    asyncpg.TransactionTimeoutError,  # 25P04
    asyncpg.TransactionRollbackError,  # class 40
    asyncpg.InsufficientResourcesError,  # class 53
    asyncpg.LockNotAvailableError,  # 55P03
    asyncpg.OperatorInterventionError,  # class 57
    asyncpg.PostgresSystemError,  # class 58: errors of the disk
    asyncpg.SnapshotTooOldError,  # 72000
)
"""Errors that end when the server is available or has room again, has failed over, or when another transaction ends.
The codes are those of appendix A of PostgreSQL's documentation."""

HANDSHAKE: Final = frozenset({None, "SSL"})
"""The parts of OpenSSL that speak with the server. The others read files, also those of ~/.postgresql and of PGSSL*."""

CONNECTION_ENDED: Final = re.compile(
    # "released back": also said of a connection that a task holds while its session ends
    r"connection is closed|pool is clos|not connected|another operation is cancelling|released back to the pool"
    # the session ended between the parts of a command: 2 is the state of a failed connection
    r"|another operation \(2\) is in progress|protocol is in the \"failed\" state"
    # asyncpg's own race between a cancellation and the end of a session
    r"|called on a free connection holder"
)
"""In asyncpg's InterfaceError and InternalClientError, which it raises for a wrong use of a connection too: that is a
bug, and no retry mends it."""


async def _no_reset(_: object) -> None:
    """asyncpg resets the session at each release, which costs half of a point read. This code base leaves no session
    state behind (no SET but SET LOCAL, no session advisory lock, no LISTEN, no temporary table)."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. `connection_s`: for a free connection, and for the end of a command that timed out before its connection
    is given up; None: without limit. `command_s`: for the answer to one command."""

    connection_s: float | None
    command_s: float


PATIENT_WAITS: Final = Waits(connection_s=None, command_s=60.0)
REQUEST_WAITS: Final = Waits(connection_s=2.0, command_s=5.0)
"""Of a process that answers requests: a server that is silent costs a request less than ten seconds."""


class _BoundedPool(_AsyncpgPool):
    """asyncpg's own methods acquire without a time-out, and a release then waits without end for a server that does not
    confirm the cancellation of a command. A release has the time-out of its acquisition."""

    connection_s: float | None = None

    def acquire(self, *, timeout: float | None = None) -> "PoolAcquireContext[asyncpg.Record]":
        return super().acquire(timeout=self.connection_s if timeout is None else timeout)


async def open_pool(
    settings: Settings, *, size: int | None = None, waits: Waits = PATIENT_WAITS, application: str = APPLICATION
) -> Pool:
    """A pool of at most DB_POOL_MAX (or `size`) connections. `application`: their name in pg_stat_activity, unless the
    URL has one. Raises TransientError when the server is unavailable."""
    session = {**SERVER_SETTINGS, "application_name": application}
    with transient_errors(settings.database_dsn):
        pool = _BoundedPool(
            **connect_arguments(
                settings.database_address, timeout_s=settings.db_connect_timeout, server_settings=session
            ),
            min_size=1,
            max_size=size or settings.db_pool_max,
            max_queries=50_000,
            max_inactive_connection_lifetime=settings.db_idle_timeout,
            command_timeout=waits.command_s,
            reset=_no_reset,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            loop=asyncio.get_running_loop(),
        )
        pool.connection_s = waits.connection_s
        return await pool


@asynccontextmanager
async def opened_pool(
    settings: Settings, *, size: int | None = None, waits: Waits = PATIENT_WAITS
) -> AsyncIterator[Pool]:
    """`open_pool`, closed at the end. Connections that are busy for more than five seconds are terminated."""
    pool = await open_pool(settings, size=size, waits=waits)
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
def transient_errors(dsn: str | None = None) -> Iterator[None]:
    """Raises TransientError for PostgreSQL's transient errors, and ConfigurationError for a URL that asyncpg rejects;
    other errors pass unchanged. `dsn`: for the address in the message, which the operating system leaves out."""
    try:
        yield
    except ClientConfigurationError as error:
        remedy = ": set DB_CA_FILE, or sslrootcert=system in the URL" if "root certificate" in str(error) else ""
        raise ConfigurationError([f"DATABASE_URL: {error}{remedy}"]) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if CONNECTION_ENDED.search(str(error)) is None:
            raise
        raise _transient(error, dsn) from error
    except LOST_STATEMENT as error:
        raise _pooler_found(error) from error
    except TRANSIENT as error:
        raise _classified(error, dsn) from error
    except RuntimeError as error:
        if not is_closed_connection(error):
            raise
        raise _transient(error, dsn) from error


def _pooler_found(error: Exception) -> ConfigurationError:
    return ConfigurationError([f"DATABASE_URL or DB_*: {error}: {POOLER_FOUND}"])


def _classified(error: Exception, dsn: str | None) -> TransientError | ConfigurationError:
    """Of TRANSIENT, which has the types of some errors that do not pass."""
    if "startup parameter" in str(error):  # of PgBouncer, whose other refusals pass
        return _pooler_found(error)
    if isinstance(error, ssl.SSLError) and error.library not in HANDSHAKE:
        return ConfigurationError([f"DATABASE_URL: its certificates or its key cannot be read: {error}"])
    return refused_tls(error, dsn) or _transient(error, dsn)


def refused_tls(error: Exception, dsn: str | None) -> TlsError | None:
    """Of an error of a connection; None if TLS is not its cause."""
    where = f"PostgreSQL{f' at {address_of(dsn)}' if dsn else ''}"
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return TlsError(f"{where}: it offers no TLS", "set ssl=on in postgresql.conf, with a certificate and its key")
    return refusal(error, where, POSTGRESQL)


def _transient(error: Exception, dsn: str | None) -> TransientError:
    where = f" at {address_of(dsn)}" if dsn else ""
    return TransientError(f"PostgreSQL{where}: {reason(error)}")


def address_of(dsn: str) -> str:
    """Host, port and database, and nothing secret."""
    return dsn.partition("?")[0].rpartition("@")[2].rpartition("//")[2]
