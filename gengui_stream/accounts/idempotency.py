"""One generation for one Idempotency-Key: the event is reserved before the append, so that a try that was cut short
and is made again, or two that are made at once, append and answer the same event."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gengui_stream.postgres.pool import Pool, transient_errors
from schemas.events import GenerationRequested

RESERVE: Final = """
INSERT INTO accounts.idempotency_keys (owner_id, key, request_hash, event) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner_id, key) DO NOTHING
"""
FIND: Final = "SELECT request_hash, event, position FROM accounts.idempotency_keys WHERE owner_id = $1 AND key = $2"
SETTLE: Final = """
UPDATE accounts.idempotency_keys SET position = coalesce(position, $3) WHERE owner_id = $1 AND key = $2 RETURNING
    position
"""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What the key stands for. `position` is None until the log has the event."""

    request_hash: bytes
    event: GenerationRequested
    position: str | None


async def reserve(pool: Pool, key: str, request_hash: bytes, event: GenerationRequested) -> Reservation:
    """The reservation that holds: this one, or the one made before under the same key of the same owner."""
    with transient_errors():
        await pool.execute(RESERVE, event.owner_id, key, request_hash, event.model_dump_json())
        row = await pool.fetchrow(FIND, event.owner_id, key)
    if row is None:
        return Reservation(request_hash, event, None)
    return Reservation(row["request_hash"], GenerationRequested.model_validate_json(row["event"]), row["position"])


async def settle(pool: Pool, owner_id: UUID, key: str, position: str) -> str:
    """The position by which the event is known from now on: the first that was told."""
    with transient_errors():
        return str(await pool.fetchval(SETTLE, owner_id, key, position) or position)
