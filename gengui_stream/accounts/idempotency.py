"""One answer for one Idempotency-Key: the generation's id is reserved before the append, so that a try that was cut
short and is made again appends the same event."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gengui_stream.postgres.pool import Pool, transient_errors

RESERVE: Final = """
INSERT INTO idempotency_keys (owner_id, key, request_hash, generation_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner_id, key) DO NOTHING
"""
FIND: Final = """
SELECT request_hash, generation_id, position, response FROM idempotency_keys WHERE owner_id = $1 AND key = $2
"""
ANSWER: Final = "UPDATE idempotency_keys SET position = $3, response = $4 WHERE owner_id = $1 AND key = $2"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What the key stands for. `response` is None until the first try was answered."""

    request_hash: bytes
    generation_id: UUID
    position: str | None
    response: str | None


async def reserve(pool: Pool, owner_id: UUID, key: str, request_hash: bytes, generation_id: UUID) -> Reservation:
    """The reservation that holds: this one, or the one made before under the same key."""
    with transient_errors():
        await pool.execute(RESERVE, owner_id, key, request_hash, generation_id)
        row = await pool.fetchrow(FIND, owner_id, key)
    if row is None:
        return Reservation(request_hash, generation_id, None, None)
    return Reservation(row["request_hash"], row["generation_id"], row["position"], row["response"])


async def answer(pool: Pool, owner_id: UUID, key: str, position: str, response: str) -> None:
    with transient_errors():
        await pool.execute(ANSWER, owner_id, key, position, response)
