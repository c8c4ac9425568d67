"""Numbered `.sql` files, each applied once, in a transaction of its own, by one process at a time.

`_pre_` files run before the processes of the new version start, and must suit those of the old version too; `_post_`
files run once every process has the new version. Data is moved in between, in small steps, by a process of the new
version.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal, TypeAlias

import asyncpg

from gengui_stream.errors import ConfigurationError, TransientError
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

Phase: TypeAlias = Literal["pre", "post", "all"]


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


async def migrate(database_url: str, phase: Phase = "all", shipped: Sequence[Migration] | None = None) -> list[str]:
    """Applies the missing migrations of the phase and returns their names. Safe to repeat, and to run in many processes
    at once: one that was interrupted goes on with the first that is missing.

    Raises TransientError when the server is unavailable, or a table stays locked for longer than LOCK_TIMEOUT;
    ConfigurationError when a file was changed after it was applied, or the phase does not suffice.
    """
    with transient_errors(database_url):
        connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            return await _apply_missing(connection, phase, shipped_migrations() if shipped is None else shipped)
        finally:
            await connection.close()


async def _apply_missing(connection: Connection, phase: Phase, shipped: Sequence[Migration]) -> list[str]:
    await connection.execute(_TABLE)
    applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT * FROM migrations.applied")}
    missing = [migration for migration in shipped if not _already(migration, applied)]
    due = _due(missing, phase)
    for migration in due:
        await _apply(connection, migration)
    return [migration.name for migration in due]


async def _apply(connection: Connection, migration: Migration) -> None:
    """In a transaction of its own. A table that is in use is waited for briefly: behind a waiting ALTER TABLE every
    reader of the table waits as well."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO migrations.applied (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
            )
    except asyncpg.LockNotAvailableError as error:
        reason = f"{migration.name}: a table that it changes was locked for {LOCK_TIMEOUT}; nothing of it was applied"
        raise TransientError(reason) from error


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
