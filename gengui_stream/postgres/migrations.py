"""Numbered `.sql` files, each applied once, in one transaction, by one process at a time.

`_pre_` files run before the new version starts, and must suit the old version too; `_post_` files run once all
processes have the new version.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from gengui_stream.errors import ConfigurationError
from gengui_stream.postgres.pool import transient_errors

_LOCK = 0x67656E677569  # "gengui": the advisory lock held during a migration

_TABLE = """
CREATE SCHEMA IF NOT EXISTS migrations;
CREATE TABLE IF NOT EXISTS migrations.applied (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str

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


async def migrate(database_url: str) -> list[str]:
    """Applies the missing migrations and returns their names. Safe to repeat, and to run in many processes at once.

    Raises TransientError when the server is unavailable, ConfigurationError when a file was changed after it was
    applied.
    """
    with transient_errors(database_url):
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                return await _apply_missing(connection)
        finally:
            await connection.close()


async def _apply_missing(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    await connection.execute(_TABLE)
    applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT * FROM migrations.applied")}
    missing = [m for m in shipped_migrations() if not _already(m, applied)]
    for migration in missing:
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO migrations.applied (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
        )
    return [migration.name for migration in missing]


def _already(migration: Migration, applied: Mapping[str, str]) -> bool:
    known = applied.get(migration.name)
    if known is not None and known != migration.sha256:
        raise ConfigurationError([f"{migration.name} was changed after it was applied: add a new migration instead"])
    return known is not None
