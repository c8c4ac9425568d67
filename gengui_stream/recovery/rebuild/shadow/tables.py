"""The tables of each projection that a rebuild can name, and how they are made in the shadow schema."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import asyncpg

from gengui_stream.postgres.pool import Connection
from gengui_stream.recovery.rebuild.shadow.connection import LIVE, SHADOW

PROJECTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "requests": ("generation_requests",),
        "states": ("generation_states",),
        "timeline": ("timeline",),
        "daily-counts": ("daily_counts",),
        "provider-statistics": ("provider_minutes", "provider_latencies"),
        "provider-usage": ("provider_usage",),
    }
)
"""Those that can be rebuilt alone: dead letters cannot, since what becomes of them shows in all other tables."""

ALL_TABLES: Final = (*(table for tables in PROJECTIONS.values() for table in tables), "dead_letters")


def is_all(tables: Collection[str]) -> bool:
    """Whether these are the tables of every projection, perhaps with those that each rebuild has."""
    return set(ALL_TABLES) <= set(tables)


FOLD_TABLES: Final = ("generation_requests", "generation_states")
"""From which the fold reads states again that it no longer has in memory: always built, swapped only when named."""

CHECKPOINTS: Final = "checkpoints"

COUNTS: Final = ("daily_counts", "provider_minutes", "provider_latencies", "provider_usage")

KEYED_AT_ONCE: Final = (*FOLD_TABLES, CHECKPOINTS, *COUNTS)
"""Their primary key is needed during the fold. The ids of generations begin with their time, so new keys go to the end
of the index, which costs little."""

OWN_TABLES: Final = """
CREATE TABLE projections_next.unrequested_events (
    partition smallint NOT NULL, generation_id uuid NOT NULL, event_id uuid NOT NULL, log_offset bigint NOT NULL);
CREATE INDEX ON projections_next.unrequested_events (generation_id);
CREATE TABLE projections_next.rebuild (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), tables text[] NOT NULL, ends jsonb,
    revisions jsonb NOT NULL, phase text NOT NULL, started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now())
"""

STORAGE: Final = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = $1::regclass"

COLUMNS: Final = """
SELECT attrelid::regclass::text AS name, array_agg(attname || ' ' || atttypid::regtype ORDER BY attnum) AS columns
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND attnum > 0 AND NOT attisdropped AND relname = ANY($2)
GROUP BY attrelid
"""

# A constraint comes before the other indexes; the primary key before other constraints.
INDEXES: Final = """
SELECT i.relname AS name, c.conname, pg_get_constraintdef(c.oid) AS constraint, pg_get_indexdef(i.oid) AS index
FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint c ON c.conindid = i.oid AND c.conrelid = t.oid
WHERE t.oid = $1::regclass ORDER BY NOT x.indisprimary, c.oid IS NULL, i.relname
"""

EXISTING: Final = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'i'"


async def create(connection: Connection) -> None:
    """An empty shadow schema, whose tables have the columns of the live ones and few indexes."""
    await connection.execute(f"CREATE SCHEMA {SHADOW}")
    for table in (*ALL_TABLES, CHECKPOINTS):
        await connection.execute(f"CREATE TABLE {SHADOW}.{table} (LIKE {LIVE}.{table} INCLUDING ALL EXCLUDING INDEXES)")
        if storage := await connection.fetchval(STORAGE, f"{LIVE}.{table}"):
            await connection.execute(f"ALTER TABLE {SHADOW}.{table} SET ({storage})")
    for table in KEYED_AT_ONCE:
        for statement in (await missing_indexes(connection, table))[:1]:
            await connection.execute(statement)
    await connection.execute(OWN_TABLES)


async def missing_indexes(connection: Connection, table: str) -> Sequence[str]:
    """The statements that make the indexes of the live table which the shadow's does not have, the primary key
    first."""
    existing = {row["relname"] for row in await connection.fetch(EXISTING, SHADOW)}
    rows = await connection.fetch(INDEXES, f"{LIVE}.{table}")
    return [_index(table, row) for row in rows if row["name"] not in existing]


def _index(table: str, row: asyncpg.Record) -> str:
    if row["constraint"] is not None:
        return f'ALTER TABLE {SHADOW}.{table} ADD CONSTRAINT "{row["conname"]}" {row["constraint"]}'
    definition: str = row["index"]
    return definition.replace(f" ON {LIVE}.", f" ON {SHADOW}.", 1)


async def differing(connection: Connection, tables: Collection[str]) -> Sequence[str]:
    """Those of the tables whose columns differ between the two schemas, or that one of them lacks: a migration has
    changed them since the shadow was made."""
    live, shadow = [
        {
            row["name"].rpartition(".")[2]: row["columns"]
            for row in await connection.fetch(COLUMNS, schema, list(tables))
        }
        for schema in (LIVE, SHADOW)
    ]
    return sorted(table for table in tables if live.get(table) is None or live.get(table) != shadow.get(table))
