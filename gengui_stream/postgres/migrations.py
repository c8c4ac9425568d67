"""Numbered `.sql` files, applied in their order, each once, by one process at a time.

`_pre_` files run before the processes of the new version start, and must suit those of the old version too.
`_backfill_` files move data while both run: one statement with a LIMIT, repeated until it changes no row. `_post_`
files run once every process has the new version.
"""

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal, TypeAlias

import asyncpg

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.postgres.connecting import tls_of
from gengui_stream.postgres.pool import transient_errors

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_LOCK = 0x67656E677569  # "gengui": the advisory lock held during a migration

_TABLE = """
CREATE SCHEMA IF NOT EXISTS migrations;
CREATE TABLE IF NOT EXISTS migrations.applied (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


CONNECT_TIMEOUT_S: Final = 10.0
LOCK_TIMEOUT: Final = "5s"
LOCK_POLL_S: Final = 0.1
BATCH_TRIES: Final = 10
"""Consecutive failures of a batch, by a lock or a deadlock, after which a backfill ends."""

Phase: TypeAlias = Literal["pre", "backfill", "post", "all"]
Progress: TypeAlias = Callable[[str, int], None]
"""Called after each batch of a backfill with its name and the number of rows so far, in this run."""


@dataclass(frozen=True, slots=True)
class Migration:
    """`name`: `<number>_<phase>_<subject>.sql`."""

    name: str
    sql: str

    @property
    def phase(self) -> str:
        return self.name.split("_")[1]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """One for each `;` at the end of a line."""
        return [statement for part in re.split(r";\s*$", self.sql, flags=re.MULTILINE) if (statement := part.strip())]


def shipped_migrations() -> list[Migration]:
    """In the order of application."""
    folder = files("gengui_stream.postgres") / "migrations"
    found = [Migration(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


def unapplied_migrations(applied: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The names that are not applied yet, and the applied names that this version does not ship. `applied`: digest by
    name. Raises ConfigurationError when a file was changed after it was applied."""
    shipped = shipped_migrations()
    missing = [migration.name for migration in shipped if not _already(migration, applied)]
    return missing, sorted(applied.keys() - {migration.name for migration in shipped})


async def migrate(
    database_url: str,
    phase: Phase = "all",
    shipped: Sequence[Migration] | None = None,
    progress: Progress = lambda _name, _rows: None,
) -> list[str]:
    """Applies the missing migrations of the phase and returns their names. Safe to repeat, and to run in many processes
    at once: one that was interrupted goes on with the first that is missing, a backfill with the rows that are left.

    Raises TransientError when the server is unavailable, or a table stays locked for longer than LOCK_TIMEOUT;
    ConfigurationError when a file was changed after it was applied, or the phase does not suffice.
    """
    with transient_errors(database_url):
        async with _alone(database_url) as connection:
            return await _apply_missing(
                connection, phase, shipped_migrations() if shipped is None else shipped, progress
            )


@asynccontextmanager
async def _alone(database_url: str) -> AsyncIterator[Connection]:
    """A connection with the lock. Polled for: CREATE INDEX CONCURRENTLY waits for every transaction, so also for one
    that waits for this lock."""
    connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S, ssl=tls_of(database_url))
    try:
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 - of a server
            await asyncio.sleep(LOCK_POLL_S)
        yield connection
    finally:
        await connection.close()


async def _apply_missing(
    connection: Connection, phase: Phase, shipped: Sequence[Migration], progress: Progress
) -> list[str]:
    await connection.execute(_TABLE)
    applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT * FROM migrations.applied")}
    missing = [migration for migration in shipped if not _already(migration, applied)]
    due = _due(missing, phase)
    for migration in due:
        await _apply(connection, migration, progress)
    return [migration.name for migration in due]


async def _apply(connection: Connection, migration: Migration, progress: Progress) -> None:
    """A table that is in use is waited for briefly: behind a waiting ALTER TABLE every reader of the table waits as
    well."""
    try:
        if migration.phase == "backfill":
            await _backfill(connection, migration, progress)
        elif "CONCURRENTLY" in migration.sql:
            await _one_by_one(connection, migration)
        else:
            async with _transaction(connection):
                await connection.execute(migration.sql)
                await _record(connection, migration)
    except asyncpg.LockNotAvailableError as error:
        reason = f"{migration.name}: a table that it changes was locked for {LOCK_TIMEOUT}; nothing of it was applied"
        raise TransientError(reason) from error


async def _one_by_one(connection: Connection, migration: Migration) -> None:
    """Each statement by itself, since PostgreSQL builds no index concurrently in a transaction. The file must bear to
    be run again after any of its statements."""
    await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    for statement in migration.statements:
        await connection.execute(statement)
    await connection.execute("RESET lock_timeout")
    await _record(connection, migration)


async def _backfill(connection: Connection, migration: Migration, progress: Progress) -> None:
    """Each batch is a transaction of its own, so that no row is locked for long and nothing is repeated."""
    [statement] = migration.statements
    total = 0
    while rows := await _batch(connection, migration.name, statement):
        total += rows
        progress(migration.name, total)
    await _record(connection, migration)


async def _batch(connection: Connection, name: str, statement: str) -> int:
    """The number of rows that it changed. Repeated after a lock or a deadlock, which writers may cause at any time."""
    for number in itertools.count(1):
        try:
            async with _transaction(connection):
                status = await connection.execute(statement)
            return int(status.split()[-1])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if number == BATCH_TRIES:
                reason = f"{name}: {number} tries of a batch failed, the last one with: {error}; repeat to go on"
                raise TransientError(reason) from error
    raise AssertionError


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        yield


async def _record(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO migrations.applied (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
    )


def _due(missing: Sequence[Migration], phase: Phase) -> Sequence[Migration]:
    """Those to apply now, in order. Raises ConfigurationError when one of the phase comes after one of another."""
    if phase == "all":
        return missing
    due = list(itertools.takewhile(lambda migration: migration.phase == phase, missing))
    later = [migration.name for migration in missing[len(due) :] if migration.phase == phase]
    if later:
        blocking = missing[len(due)]
        remedy = (
            f"run `migrate --phase {blocking.phase}` of the release that brought it, or stop all roles and `migrate`"
        )
        raise ConfigurationError([f"{later[0]} must follow {blocking.name}, which is not applied: {remedy}"])
    return due


def _already(migration: Migration, applied: Mapping[str, str]) -> bool:
    known = applied.get(migration.name)
    if known is not None and known != migration.sha256:
        raise ConfigurationError([f"{migration.name} was changed after it was applied: add a new migration instead"])
    return known is not None
