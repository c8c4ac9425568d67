"""Facts about a PostgreSQL server: its state, the applied migrations, the privileges of the user."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg

from gengui_stream.postgres.connecting import connect_arguments
from gengui_stream.postgres.migrations import shipped_migrations
from gengui_stream.round_trip import fastest
from gengui_stream.settings import Settings

PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

SERVER: Final = """
SELECT current_setting('server_version') AS version,
  pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
  current_setting('max_connections')::int AS connections_max,
  (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted
"""

MISSING_PRIVILEGES: Final = """
SELECT format('%s.%s', n.nspname, c.relname) AS name, p.privilege
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN unnest($2::text[]) AS p(privilege)
WHERE format('%s.%s', n.nspname, c.relname) = ANY($1::text[])
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, p.privilege)) ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """`asked_at`: our time when the server's was `now`. `applied`: name to digest of each migration; None where there
    is no such table, or it may not be read. `missing_privileges`: such as `jobs.jobs: UPDATE`."""

    version: str
    now: datetime
    asked_at: datetime
    round_trip_s: float
    read_only: bool
    connections: int
    connections_max: int
    encrypted: bool
    applied: Mapping[str, str] | None
    missing_privileges: tuple[str, ...]


def our_tables() -> list[str]:
    """The tables that the migrations create, with their schemas."""
    found = [re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+\.\w+)", one.sql) for one in shipped_migrations()]
    return [table for tables in found for table in tables]


async def inspect_database(settings: Settings, *, connect_s: float) -> DatabaseFacts:
    """Raises asyncpg's errors, OSError and TimeoutError when the server is unavailable."""
    async with _connected(settings, connect_s) as connection:
        trip = await fastest(partial(_clock, connection))
        [row] = await connection.fetch(SERVER)
        missing = await connection.fetch(MISSING_PRIVILEGES, our_tables(), list(PRIVILEGES))
        applied = await _applied(connection)
    return DatabaseFacts(
        version=row["version"],
        now=trip.answer,
        asked_at=trip.middle,
        round_trip_s=trip.seconds,
        read_only=row["read_only"],
        connections=row["connections"],
        connections_max=row["connections_max"],
        encrypted=bool(row["encrypted"]),
        applied=applied,
        missing_privileges=tuple(f"{found['name']}: {found['privilege']}" for found in missing),
    )


@asynccontextmanager
async def _connected(settings: Settings, connect_s: float) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(
        **connect_arguments(settings.database_address, timeout_s=connect_s), command_timeout=connect_s
    )
    try:
        yield connection
    finally:
        connection.terminate()  # read-only: an orderly close would wait for the server


async def _clock(connection: "asyncpg.Connection[asyncpg.Record]") -> datetime:
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str] | None:
    try:
        rows = await connection.fetch("SELECT name, sha256 FROM migrations.applied")
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return None
    return {row["name"]: row["sha256"] for row in rows}
