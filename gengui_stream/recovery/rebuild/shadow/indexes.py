"""After the fill: the indexes, and the statistics of the planner."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.process.background import single_error_group
from gengui_stream.recovery.rebuild.shadow.connection import SHADOW, opened_session
from gengui_stream.recovery.rebuild.shadow.tables import FOLD_TABLES, missing_indexes
from gengui_stream.settings import Settings

AT_ONCE: Final = 2
"""Indexes: each takes a core of the server, and memory."""

INDEX_TIMEOUT_S: Final = 6 * 3_600.0

Step: TypeAlias = Callable[[str], None]


async def build_indexes(settings: Settings, tables: Sequence[str], step: Step) -> None:
    """Those that the live tables have and the shadow's lack; safe to repeat."""
    async with opened_session(settings) as connection:
        with transient_errors():
            built = sorted({*tables, *FOLD_TABLES})
            work = [statement for table in built for statement in await missing_indexes(connection, table)]
    waiting = list(reversed(work))
    async with single_error_group() as group:
        for _ in range(AT_ONCE):
            group.create_task(_build_some(settings, waiting, step))


async def _build_some(settings: Settings, waiting: list[str], step: Step) -> None:
    async with opened_session(settings) as connection:
        with transient_errors():
            while waiting:
                statement = waiting.pop()
                step(f"building {named(statement)}")
                await connection.execute(statement, timeout=INDEX_TIMEOUT_S)


def named(statement: str) -> str:
    """The name of the index that the statement makes."""
    _, _, rest = statement.partition(" CONSTRAINT " if statement.startswith("ALTER") else " INDEX ")
    return rest.split(" ")[0].strip('"')


async def analyze(connection: Connection, tables: Sequence[str]) -> None:
    for table in sorted({*tables, *FOLD_TABLES}):
        await connection.execute(f"ANALYZE {SHADOW}.{table}")
