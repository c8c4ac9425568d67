"""What operators did: one row for each act, in the transaction of the act."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from gengui_stream.postgres.pool import Connection, Pool, transient_errors

INSERT: Final = """
INSERT INTO operations.actions (operator, action, subject, reason, result) VALUES ($1, $2, $3, $4, $5)
"""

LIST: Final = """
SELECT acted_at, operator, action, subject, reason, result FROM operations.actions
WHERE $1::text IS NULL OR action = $1 ORDER BY action_id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Order:
    """Who acts, and why."""

    operator: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """`action`: the command. `subject`: what it was about. `result`: a JSON document."""

    acted_at: datetime
    operator: str
    action: str
    subject: str
    reason: str
    result: object


async def write_act(
    connection: Connection, order: Order, action: str, subject: str, result: Mapping[str, object]
) -> None:
    """In the caller's transaction, if there is one."""
    document = orjson.dumps(result, default=str).decode()
    await connection.execute(INSERT, order.operator, action, subject, order.reason, document)


async def acts(pool: Pool, *, action: str | None, limit: int) -> list[Act]:
    """The latest first."""
    with transient_errors():
        rows = await pool.fetch(LIST, action, limit)
    return [Act(**{**row, "result": orjson.loads(row["result"])}) for row in rows]
