"""Many rows in one statement: a list of rows becomes one array a column, for `unnest`."""

from collections.abc import Sequence

from gengui_stream.postgres.pool import Connection


async def execute_bulk(connection: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Runs `statement` with `$1 … $n` bound to the columns of `rows`; nothing at all for no rows."""
    if rows:
        await connection.execute(statement, *map(list, zip(*rows, strict=True)))
