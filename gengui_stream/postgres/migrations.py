"""Numbered `.sql` files, each applied once, in one transaction, by one process at a time.

`_pre_` files run before new code starts (they must suit the old code too), `_post_` files after it runs everywhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from gengui_stream.errors import ConfigurationError
from gengui_stream.postgres.pool import transient_errors

_LOCK = 0x67656E677569  # "gengui": whoever migrates holds this advisory lock

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
    """In the order in which they apply."""
    folder = files("gengui_stream.postgres") / "migrations"
    found = [Migration(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


def unapplied_migrations(applied: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Names that are not applied yet, and names that are applied and not shipped with this version. `applied`: name to
    digest. Raises ConfigurationError when an applied file was changed afterwards."""
    shipped = shipped_migrations()
    missing = [migration.name for migration in shipped if not _already(migration, applied)]
    return missing, sorted(applied.keys() - {migration.name for migration in shipped})


async def migrate(database_url: str) -> list[str]:
    """Applies what is missing and returns the names. Safe to run by many processes at once, and again.

    Raises TransientError without a server, ConfigurationError when an applied file was changed afterwards.
    """
    with transient_errors():
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
