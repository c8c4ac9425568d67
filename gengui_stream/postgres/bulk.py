"""Writes many rows at once, with one array a column for `unnest`.

Not COPY, although it is a little cheaper for many rows: a process that is paused during a COPY holds its locks until it
resumes, whatever time-outs are set, because PostgreSQL only waits for further rows.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from gengui_stream.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Write:
    """Rows of one table, and the statement that takes their columns as `$1 … $n`.

    `instants`: the indexes of the columns whose datetimes are sent as seconds since 1970, for the statement's
    `to_timestamp`: asyncpg needs half a microsecond to encode a datetime, ten times as long as other values. A float is
    exact to the microsecond until some years after 2100, the latest time that the log accepts.
    """

    statement: str
    rows: Sequence[tuple[object, ...]]
    instants: Collection[int] = ()

    def arguments(self) -> list[list[object]]:
        """The arguments, one array a column. A column of nulls is sent as an empty array, which `unnest` extends with
        nulls: most columns of most batches are null, and each element costs the client time."""
        columns = [_without_nulls(list(column)) for column in zip(*self.rows, strict=True)]
        return [_seconds(column) if index in self.instants else column for index, column in enumerate(columns)]


def _without_nulls(column: list[object]) -> list[object]:
    return [] if column == [None] * len(column) else column


def _seconds(column: list[object]) -> list[object]:
    return [moment.timestamp() if isinstance(moment, datetime) else None for moment in column]


async def execute_writes(connection: Connection, writes: Sequence[Write]) -> None:
    """Runs the writes in order in the caller's transaction; those without rows are skipped."""
    for write in writes:
        if write.rows:
            await connection.execute(write.statement, *write.arguments())


@lru_cache
def joined(statements: tuple[str, ...], parameters: tuple[int, ...]) -> str:
    """One atomic statement made of several; it returns the rows of the last one. Its parameters are theirs in sequence:
    `parameters` has the number of each. Later statements can refer to earlier ones as `part_0`, `part_1` …

    No two may write to the same row. The number of different results is the number of sets of tables that a batch
    touches, which is small enough for prepared statements.
    """
    shifted = [_shifted(statement, sum(parameters[:number])) for number, statement in enumerate(statements)]
    parts = [f"part_{number} AS ({statement})" for number, statement in enumerate(shifted[:-1])]
    return f"WITH {', '.join(parts)} {shifted[-1]}"


def _shifted(statement: str, by: int) -> str:
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", statement)
