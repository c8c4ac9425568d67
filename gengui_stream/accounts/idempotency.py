"""One generation for one Idempotency-Key: its event is reserved before the append, so that repeated and parallel
requests append, and answer with, the same event."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Pool, transient_errors
from schemas.events import GenerationRequested

ABANDONED_AFTER: Final = timedelta(seconds=60)
"""By then the event is appended, or its request has ended: an append takes 20 s at most."""

RESERVE: Final = """
INSERT INTO accounts.idempotency_keys (owner_id, key, request_hash, event) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner_id, key) DO NOTHING
"""
FIND: Final = """
SELECT request_hash, event, position, position IS NULL AND created_at < now() - $3::interval AS abandoned
FROM accounts.idempotency_keys WHERE owner_id = $1 AND key = $2
"""
# Of renewals at the same time the first counts: the others no longer find the event that they replace.
RENEW: Final = """
UPDATE accounts.idempotency_keys SET event = $4, created_at = now()
WHERE owner_id = $1 AND key = $2 AND event = $3 AND position IS NULL
"""
# Two processes that prune at the same time remove different rows.
PRUNE: Final = """
DELETE FROM accounts.idempotency_keys WHERE (owner_id, key) IN (
    SELECT owner_id, key FROM accounts.idempotency_keys WHERE created_at < now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
PRUNED_MAX: Final = 1_000

SETTLE: Final = """
UPDATE accounts.idempotency_keys SET position = coalesce(position, $3) WHERE owner_id = $1 AND key = $2
RETURNING position
"""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The event reserved under a key. `position` is None until the event is on the log."""

    request_hash: bytes
    event: GenerationRequested
    position: str | None


async def reserve(pool: Pool, key: str, request_hash: bytes, event: GenerationRequested) -> Reservation:
    """The reservation that holds: this one, or the one made before under the same key of the same owner.

    An abandoned one keeps its ids and gets the times of `event`: with its own the generation would be past its
    deadline, or the fold would ignore it. Should the log have it after all, the fold ignores the renewed one.
    """
    with transient_errors():
        await pool.execute(RESERVE, event.owner_id, key, request_hash, event.model_dump_json())
        row = await _find(pool, key, event)
        if row is not None and row["abandoned"]:
            renewed = _reserved(row).model_copy(update={"occurred_at": event.occurred_at, "deadline": event.deadline})
            await pool.execute(RENEW, event.owner_id, key, row["event"], renewed.model_dump_json())
            row = await _find(pool, key, event)
    if row is None:
        return Reservation(request_hash, event, None)
    return Reservation(row["request_hash"], _reserved(row), row["position"])


async def _find(pool: Pool, key: str, event: GenerationRequested) -> asyncpg.Record | None:
    return await pool.fetchrow(FIND, event.owner_id, key, ABANDONED_AFTER)


def _reserved(row: asyncpg.Record) -> GenerationRequested:
    return GenerationRequested.model_validate_json(row["event"])


async def settle(pool: Pool, owner_id: UUID, key: str, position: str) -> str:
    """Stores the position of the event and returns it; the first stored position stays."""
    with transient_errors():
        return str(await pool.fetchval(SETTLE, owner_id, key, position) or position)


async def prune(pool: Pool, kept: timedelta) -> int:
    """Forgets at most PRUNED_MAX of the keys that are older; returns their number."""
    return await delete_rows(pool, PRUNE, kept, PRUNED_MAX)
