"""Many rows at once: one array a column for `unnest`.

Not COPY, though it is a little cheaper for many rows: a process that is paused in the middle of one holds its locks for
as long as it is, whatever time-outs are set, since PostgreSQL waits for the rest of the rows and hears nothing else.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from gengui_stream.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Write:
    """Rows of one table, and the statement that takes them with `$1 … $n` bound to their columns.

    `instants`: the places of columns whose datetimes go as seconds since 1970, for the statement's `to_timestamp`:
    asyncpg takes half a microsecond for a datetime, ten times as long as for anything else. A float holds them to the
    microsecond for as long as the log takes times for plausible, to 2100 and some years beyond, and not for ever.
    """

    statement: str
    rows: Sequence[tuple[object, ...]]
    instants: Collection[int] = ()

    def arguments(self) -> list[list[object]]:
        """A column without a single value goes as an empty array, which `unnest` fills up with nulls: most columns of
        most batches are such, and the client pays for each element it is given."""
        columns = [_without_nulls(list(column)) for column in zip(*self.rows, strict=True)]
        return [_seconds(column) if place in self.instants else column for place, column in enumerate(columns)]


def _without_nulls(column: list[object]) -> list[object]:
    return [] if column == [None] * len(column) else column


def _seconds(column: list[object]) -> list[object]:
    return [moment.timestamp() if isinstance(moment, datetime) else None for moment in column]


async def execute_writes(connection: Connection, writes: Sequence[Write]) -> None:
    """One after the other, in the caller's transaction; nothing at all for no rows."""
    for write in writes:
        if write.rows:
            await connection.execute(write.statement, *write.arguments())


@lru_cache
def joined(statements: tuple[str, ...], parameters: tuple[int, ...]) -> str:
    """One statement that does what these do, all or nothing; the last one answers. Its parameters are theirs, one
    after the other: `parameters` says how many each has. An earlier one is known to later ones as `part_0`, `part_1` …

    No two may write to the same row. There are as many as sets of tables that a batch may touch, few enough to stay
    prepared."""
    shifted = [_shifted(statement, sum(parameters[:number])) for number, statement in enumerate(statements)]
    parts = [f"part_{number} AS ({statement})" for number, statement in enumerate(shifted[:-1])]
    return f"WITH {', '.join(parts)} {shifted[-1]}"


def _shifted(statement: str, by: int) -> str:
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", statement)
