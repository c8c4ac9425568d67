"""Many rows at once: one array a column for `unnest`, or COPY where there are enough of them."""

from collections.abc import Sequence
from typing import Final

from gengui_stream.postgres.pool import Connection

COPY_FROM: Final = 100
"""From so many rows on COPY is cheaper, for us and for PostgreSQL; for fewer, its two round trips cost more."""


async def execute_bulk(connection: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Runs `statement` with `$1 … $n` bound to the columns of `rows`; nothing at all for no rows."""
    if rows:
        await connection.execute(statement, *map(list, zip(*rows, strict=True)))


async def insert_bulk(
    connection: Connection, table: str, columns: str, statement: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Inserts rows that conflict with none: by `statement`, or by COPY into the comma-separated `columns`."""
    if len(rows) < COPY_FROM:
        await execute_bulk(connection, statement, rows)
    else:
        await connection.copy_records_to_table(table, records=rows, columns=columns.split(", "))
