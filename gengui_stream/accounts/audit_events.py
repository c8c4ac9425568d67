"""The audit trail: security events of accounts, and the acts of admins."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import orjson

from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Executor, Pool, transient_errors

INSERT: Final = """
INSERT INTO accounts.audit_events (type, actor_id, subject_id, address, request_id, detail)
VALUES ($1, $2, $3, $4, $5, $6)
"""

PAGE: Final = """
SELECT event_id, occurred_at, type, actor_id, subject_id, address, request_id, detail FROM accounts.audit_events
WHERE ($1::text IS NULL OR type = $1) AND ($2::uuid IS NULL OR subject_id = $2)
    AND ($3::bigint IS NULL OR event_id < $3) AND ($5::uuid IS NULL OR actor_id = $5)
    AND ($6::timestamptz IS NULL OR occurred_at >= $6) AND ($7::timestamptz IS NULL OR occurred_at < $7)
ORDER BY event_id DESC LIMIT $4
"""

# Ids are in the order of time, but for transactions at the same moment: no index by time is needed.
PRUNE: Final = """
DELETE FROM accounts.audit_events WHERE event_id IN (
    SELECT event_id FROM (SELECT event_id, occurred_at FROM accounts.audit_events ORDER BY event_id LIMIT $2) AS oldest
    WHERE occurred_at < now() - $1::interval)
"""
PRUNED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Actor:
    """The user of a request, if known, with the client's address and the request's id in the logs; or an operator at
    the command line; or a process by itself."""

    address: str
    request_id: str = ""
    user_id: UUID | None = None
    operator: str | None = None


LOCAL: Final = "local"
"""The address of the command line."""

BY_ITSELF: Final = Actor("")
"""A process, because a time has passed."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """`type`: in the past tense, such as `login.failed`. `actor_id`: None if unknown. `subject_id`: the user that
    it was done to, None for none."""

    event_id: int
    occurred_at: datetime
    type: str
    actor_id: UUID | None
    subject_id: UUID | None
    address: str
    request_id: str
    detail: object


async def record(connection: Executor, type_: str, actor: Actor, subject_id: UUID | None, **detail: object) -> None:
    """In the caller's transaction, if there is one. `detail`: without secrets; the name of an operator is added."""
    named = {**detail, "operator": actor.operator} if actor.operator else detail
    document = orjson.dumps(named, default=str).decode()
    with transient_errors():
        await connection.execute(INSERT, type_, actor.user_id, subject_id, actor.address, actor.request_id, document)


async def page(
    pool: Pool,
    *,
    type_: str | None,
    subject_id: UUID | None,
    before: int | None,
    limit: int,
    actor_id: UUID | None = None,
    occurred_after: datetime | None = None,
    occurred_before: datetime | None = None,
) -> list[AuditEvent]:
    """The latest first. `before`: the id of the last event of the page before. `occurred_after` is inclusive,
    `occurred_before` exclusive."""
    with transient_errors():
        rows = await pool.fetch(PAGE, type_, subject_id, before, limit, actor_id, occurred_after, occurred_before)
    return [AuditEvent(**{**row, "detail": orjson.loads(row["detail"])}) for row in rows]


async def prune(pool: Pool, kept: timedelta) -> int:
    """Removes at most PRUNED_MAX of the oldest; returns their number."""
    return await delete_rows(pool, PRUNE, kept, PRUNED_MAX)
