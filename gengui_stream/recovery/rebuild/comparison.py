"""Compares every table of the shadow with the live one, both at the same positions of the log.

A snapshot of the live tables is taken first; the shadow then folds up to exactly the checkpoints of that snapshot. Each
table is divided into buckets by the hash of its key, and each bucket has a checksum of all its rows: the exclusive or
of their hashes, which the order of rows does not change. The snapshot lasts as long as the checksums take.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.recovery.rebuild.shadow.connection import LIVE, SHADOW, opened_session
from gengui_stream.settings import Settings

BUCKETS: Final = 256
SAMPLES: Final = 5
QUERY_TIMEOUT_S: Final = 3_600.0

NOT_COMPARED: Final[Mapping[str, Collection[str]]] = MappingProxyType(
    {
        "generation_states": ("timeline_pruned_before",),  # retention, which a rebuild begins again
        "dead_letters": ("created_at", "resolved_at", "detail"),  # times of this machine, wording of libraries
    }
)

COLUMNS: Final = """
SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
KEY: Final = """
SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
WHERE indrelid = $1::regclass AND indisprimary ORDER BY array_position(indkey::int[], attnum::int)
"""

PRUNING_MARGIN_S: Final = 3_600.0
"""Retention goes on during the comparison: rows that it may reach meanwhile are left out."""

PRUNED: Final = "SELECT EXISTS (SELECT FROM projections.generation_states WHERE timeline_pruned_before IS NOT NULL)"
UNPRUNED: Final = """
WHERE NOT EXISTS (SELECT FROM projections.generation_states s
    WHERE s.generation_id = t.generation_id AND s.timeline_pruned_before IS NOT NULL)
"""

SUMS: Final = """
SELECT (hash_record_extended(ROW({key}), 0) & {mask})::int AS bucket, count(*) AS rows,
    bit_xor(hash_record_extended(ROW({columns}), 0)) AS sum
FROM {schema}.{table} t {where} GROUP BY 1
"""

ROWS_OF: Final = """
SELECT concat_ws(' ', {key}) AS key, hash_record_extended(ROW({columns}), 0) AS sum
FROM {schema}.{table} t {where} {joint} (hash_record_extended(ROW({key}), 0) & {mask})::int = $1
"""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """`samples`: the keys of some of the rows that differ, or that only one side has."""

    table: str
    live_rows: int
    rebuilt_rows: int
    samples: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        return not self.samples


class _Bucket(NamedTuple):
    rows: int
    sum: int


async def compare(
    settings: Settings, tables: Sequence[str], follow: Callable[[Mapping[int, int]], Awaitable[None]]
) -> list[TableComparison]:
    """`follow`: folds the shadow up to exactly these offsets. Raises TransientError when a server is unavailable."""
    async with opened_session(settings, idle_s=0) as live, opened_session(settings, idle_s=0) as shadow:
        with transient_errors():
            async with live.transaction(isolation="repeatable_read", readonly=True):
                await follow(await _offsets(settings, live))
                async with shadow.transaction(isolation="repeatable_read", readonly=True):
                    return [await _compare_table(live, shadow, table, settings) for table in tables]


async def _offsets(settings: Settings, live: Connection) -> dict[int, int]:
    rows = await live.fetch(checkpoints.SELECT_OFFSETS, checkpoints.PROJECTION, settings.events_topic)
    return {row["partition"]: row["next_offset"] for row in rows}


async def _compare_table(live: Connection, shadow: Connection, table: str, settings: Settings) -> TableComparison:
    parts = await _parts(live, table, settings)
    ours, rebuilt = await asyncio.gather(_sums(live, LIVE, table, parts), _sums(shadow, SHADOW, table, parts))
    differing = sorted(bucket for bucket in ours.keys() | rebuilt.keys() if ours.get(bucket) != rebuilt.get(bucket))
    samples: list[str] = []
    for bucket in differing[:SAMPLES]:
        both = [
            {tuple(row) for row in await each.fetch(_statement(ROWS_OF, schema, table, parts), bucket)}
            for each, schema in ((live, LIVE), (shadow, SHADOW))
        ]
        samples += sorted({key for key, _ in both[0] ^ both[1]})
    rows = [sum(bucket.rows for bucket in side.values()) for side in (ours, rebuilt)]
    return TableComparison(table, rows[0], rows[1], tuple(samples[:SAMPLES]))


async def _parts(live: Connection, table: str, settings: Settings) -> dict[str, str]:
    name, left_out = f"{LIVE}.{table}", NOT_COMPARED.get(table, ())
    columns = [row["attname"] for row in await live.fetch(COLUMNS, name)]
    key = [row["attname"] for row in await live.fetch(KEY, name)]
    where = await _kept_rows(live, settings) if table == "timeline" else ""
    return {
        "key": ", ".join(f"t.{column}" for column in key),
        "columns": ", ".join(f"t.{column}" for column in columns if column not in left_out),
        "where": where,
        "joint": "AND" if where else "WHERE",
        "mask": str(BUCKETS - 1),
    }


async def _kept_rows(live: Connection, settings: Settings) -> str:
    """The condition for rows that retention has not removed."""
    if settings.timeline_retention_s:
        kept = time.time() - settings.timeline_retention_s + PRUNING_MARGIN_S
        return f"WHERE t.appended_at >= to_timestamp({kept:.0f})"
    return UNPRUNED if await live.fetchval(PRUNED) else ""


def _statement(template: str, schema: str, table: str, parts: Mapping[str, str]) -> str:
    return template.format(schema=schema, table=table, **parts)


async def _sums(connection: Connection, schema: str, table: str, parts: Mapping[str, str]) -> dict[int, _Bucket]:
    rows = await connection.fetch(_statement(SUMS, schema, table, parts), timeout=QUERY_TIMEOUT_S)
    return {row["bucket"]: _Bucket(row["rows"], row["sum"]) for row in rows}
