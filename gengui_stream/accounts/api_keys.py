"""API keys and their users. A key is `gg_<id>_<secret>`, shown once, stored only as a hash."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool, transient_errors

Role: TypeAlias = Literal["user", "worker", "admin"]

_SHAPE: Final = re.compile(r"gg_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")

FIND: Final = """
SELECT u.user_id, u.role, k.key_id FROM accounts.api_keys k JOIN accounts.users u USING (user_id)
WHERE k.key_id = $1 AND k.secret_hash = $2 AND k.revoked_at IS NULL
"""

# The update changes nothing, and returns the row that exists.
ENSURE_USER: Final = """
INSERT INTO accounts.users AS u (user_id, email, role) VALUES ($1, $2, $3)
ON CONFLICT (email) DO UPDATE SET email = EXCLUDED.email RETURNING user_id, role
"""

FIND_USER: Final = "SELECT user_id FROM accounts.users WHERE email = $1"

LIST_USERS: Final = """
SELECT u.user_id, u.email, u.role, u.created_at, count(k.key_id) FILTER (WHERE k.revoked_at IS NULL) AS keys
FROM accounts.users u LEFT JOIN accounts.api_keys k USING (user_id) GROUP BY u.user_id ORDER BY u.created_at, u.email
"""

LIST_KEYS: Final = """
SELECT k.key_id, u.email, u.role, k.created_at, k.revoked_at FROM accounts.api_keys k JOIN accounts.users u
    USING (user_id)
WHERE ($1::text IS NULL OR u.email = $1) ORDER BY k.created_at, k.key_id
"""

VALID: Final = "SELECT 1 FROM accounts.api_keys WHERE key_id = $1 AND revoked_at IS NULL"

REVOKE: Final = """
UPDATE accounts.api_keys k SET revoked_at = coalesce(k.revoked_at, now()) FROM accounts.users u
WHERE k.key_id = $1 AND u.user_id = k.user_id
RETURNING k.key_id, u.email, u.role, k.created_at, k.revoked_at
"""

INSERT_KEY: Final = "INSERT INTO accounts.api_keys (key_id, user_id, secret_hash) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated user, and the key that it used."""

    user_id: UUID
    role: Role
    key_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class User:
    """`keys`: the number of those that are not revoked."""

    user_id: UUID
    email: str
    role: Role
    created_at: datetime
    keys: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `revoked_at` None: it is valid."""

    key_id: str
    email: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


async def authenticate(pool: Pool, key: str) -> Principal | None:
    """The principal of the key; None for an unknown, malformed or revoked key."""
    shape = _SHAPE.fullmatch(key)
    if shape is None:
        return None
    with transient_errors():
        row = await pool.fetchrow(FIND, shape[1], hash_key(key))
    return Principal(row["user_id"], row["role"], row["key_id"]) if row else None


async def is_revoked(pool: Pool, key_id: str) -> bool:
    """Also of a key that does not exist any more."""
    with transient_errors():
        return await pool.fetchval(VALID, key_id) is None


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def seed_user(pool: Pool, email: str, role: Role) -> str:
    """Creates the user if missing and returns a new key; earlier keys stay valid. Raises PermanentError, and creates
    nothing, when the user exists with another role: its other keys would change theirs."""
    with transient_errors():
        user = await pool.fetchrow(ENSURE_USER, new_id(), email, role)
    if user is None or user["role"] != role:
        found = user["role"] if user is not None else "unknown"
        raise PermanentError(f"{email} exists with the role {found}, which is not changed: use another e-mail address")
    return await _new_key(pool, user["user_id"])


async def create_key(pool: Pool, email: str) -> str:
    """A new key of a user that exists; PermanentError when there is none."""
    with transient_errors():
        user_id = await pool.fetchval(FIND_USER, email)
    if user_id is None:
        raise PermanentError(f"there is no user {email}: `gengui-stream seed --email {email}` creates it")
    return await _new_key(pool, user_id)


async def _new_key(pool: Pool, user_id: UUID) -> str:
    key_id = secrets.token_hex(4)
    key = f"gg_{key_id}_{secrets.token_urlsafe(32)}"
    with transient_errors():
        await pool.execute(INSERT_KEY, key_id, user_id, hash_key(key))
    return key


async def list_users(pool: Pool) -> list[User]:
    """In the order of their creation."""
    with transient_errors():
        return [User(*row) for row in await pool.fetch(LIST_USERS)]


async def list_keys(pool: Pool, email: str | None = None) -> list[ApiKey]:
    """In the order of their creation; revoked ones too. `email`: of this user alone."""
    with transient_errors():
        return [ApiKey(*row) for row in await pool.fetch(LIST_KEYS, email)]


async def revoke_key(pool: Pool, key_id: str) -> ApiKey:
    """The key, revoked now or before. Processes that know it accept it for KEY_CACHE_S more. Raises PermanentError when
    there is none."""
    with transient_errors():
        row = await pool.fetchrow(REVOKE, key_id)
    if row is None:
        raise PermanentError(f"there is no key {key_id}: `gengui-stream keys list` shows all")
    return ApiKey(*row)
