"""The state of the rebuild, kept in the shadow schema: it comes and goes with its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import orjson

from gengui_stream.postgres.pool import Connection
from gengui_stream.recovery.rebuild.shadow.connection import RETIRED, SHADOW


class Phase(StrEnum):
    """`STOPPED`: at the offsets that `--to` names, never to be swapped. `ROLLING_BACK`: the tables of before the last
    swap, on their way back."""

    FILLING = "filling"
    CATCHING_UP = "catching up"
    STOPPED = "stopped"
    RETIRED = "retired"
    ROLLING_BACK = "rolling back"


SELECT: Final = "SELECT tables, ends, revisions, phase, started_at, updated_at FROM {schema}.rebuild"
INSERT: Final = "INSERT INTO projections_next.rebuild (tables, ends, revisions, phase) VALUES ($1, $2, $3, $4)"
SET_PHASE: Final = "UPDATE projections_next.rebuild SET phase = $1, updated_at = now()"
SET_REVISIONS: Final = "UPDATE projections_next.rebuild SET revisions = $1, updated_at = now()"
SELECT_REVISIONS: Final = "SELECT revisions FROM projections_next.rebuild"
EXISTS: Final = "SELECT to_regclass($1 || '.rebuild') IS NOT NULL"
SCHEMA_EXISTS: Final = "SELECT to_regnamespace($1) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RunState:
    """`tables`: to be swapped. `ends`: with `--to`, the offset before which each partition ends. `revisions`: the
    parked revisions of the live checkpoints, which the decisions of operators on dead letters raise."""

    tables: tuple[str, ...]
    ends: Mapping[int, int] | None
    revisions: Mapping[int, int]
    phase: Phase
    started_at: datetime
    updated_at: datetime


async def load(connection: Connection, schema: str = SHADOW) -> RunState | None:
    """None when there is no such schema."""
    if not await connection.fetchval(EXISTS, schema):
        return None
    row = await connection.fetchrow(SELECT.format(schema=schema))
    if row is None:
        return None
    ends, revisions = (_by_partition(row[name]) for name in ("ends", "revisions"))
    return RunState(
        tuple(row["tables"]), ends, revisions or {}, Phase(row["phase"]), row["started_at"], row["updated_at"]
    )


async def insert(
    connection: Connection,
    tables: Sequence[str],
    ends: Mapping[int, int] | None,
    revisions: Mapping[int, int],
) -> None:
    documents = (None if ends is None else _document(ends), _document(revisions))
    await connection.execute(INSERT, list(tables), *documents, Phase.FILLING)


async def set_phase(connection: Connection, phase: Phase) -> None:
    await connection.execute(SET_PHASE, phase)


async def set_revisions(connection: Connection, revisions: Mapping[int, int]) -> None:
    await connection.execute(SET_REVISIONS, _document(revisions))


async def revisions(connection: Connection) -> dict[int, int]:
    """Of the shadow."""
    return _by_partition(await connection.fetchval(SELECT_REVISIONS)) or {}


async def drop(connection: Connection, schema: str) -> bool:
    """Whether there was one."""
    found = bool(await connection.fetchval(SCHEMA_EXISTS, schema))
    if found:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return found


async def bring_back(connection: Connection) -> None:
    """Makes what the last swap retired the shadow again, to be caught up and swapped. An unfinished rebuild is
    dropped."""
    async with connection.transaction():
        await drop(connection, SHADOW)
        await connection.execute(f"ALTER SCHEMA {RETIRED} RENAME TO {SHADOW}")
        await set_phase(connection, Phase.ROLLING_BACK)


def _document(numbers: Mapping[int, int]) -> str:
    return orjson.dumps({str(key): value for key, value in numbers.items()}).decode()


def _by_partition(document: str | None) -> dict[int, int] | None:
    return None if document is None else {int(key): int(value) for key, value in orjson.loads(document).items()}
