"""API keys: `gg_<id>_<secret>`, shown once, stored only as a hash."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool, transient_errors

Role: TypeAlias = Literal["user", "worker", "admin"]

_SHAPE: Final = re.compile(r"gg_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")

FIND: Final = """
SELECT u.user_id, u.role FROM accounts.api_keys k JOIN accounts.users u USING (user_id)
WHERE k.key_id = $1 AND k.secret_hash = $2 AND k.revoked_at IS NULL
"""

ENSURE_USER: Final = """
INSERT INTO accounts.users AS u (user_id, email, role) VALUES ($1, $2, $3)
ON CONFLICT (email) DO UPDATE SET role = EXCLUDED.role RETURNING user_id
"""

INSERT_KEY: Final = "INSERT INTO accounts.api_keys (key_id, user_id, secret_hash) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated user."""

    user_id: UUID
    role: Role


async def authenticate(pool: Pool, key: str) -> Principal | None:
    """The principal of the key; None for an unknown, malformed or revoked key."""
    shape = _SHAPE.fullmatch(key)
    if shape is None:
        return None
    with transient_errors():
        row = await pool.fetchrow(FIND, shape[1], hash_key(key))
    return Principal(row["user_id"], row["role"]) if row else None


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def seed_user(pool: Pool, email: str, role: Role) -> str:
    """Creates the user if missing and returns a new key; earlier keys stay valid."""
    key_id = secrets.token_hex(4)
    key = f"gg_{key_id}_{secrets.token_urlsafe(32)}"
    with transient_errors():
        user_id = await pool.fetchval(ENSURE_USER, new_id(), email, role)
        await pool.execute(INSERT_KEY, key_id, user_id, hash_key(key))
    return key
