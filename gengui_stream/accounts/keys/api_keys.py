"""API keys: created, authenticated, listed, revoked. Only the hash of a key is stored."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.accounts.audit_events import LOCAL, Actor, record
from gengui_stream.accounts.keys.key_text import key_id_of, new_key_text
from gengui_stream.accounts.keys.validity import OPEN_ACCOUNT, VALID_KEY
from gengui_stream.accounts.principals import SCOPES_OF, Principal, Role, granted
from gengui_stream.errors import PermanentError
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from schemas.operations.operation import Scope

KEYS_OF_USER_MAX: Final = 100
"""Valid ones."""
KEYS_LISTED_MAX: Final = 200
ENDED_KEPT: Final = timedelta(days=30)
"""How long a key is listed after it was revoked or has expired."""
PRUNED_MAX: Final = 1_000

_FIND: Final = """
SELECT u.user_id, u.role, k.key_id, k.scopes, u.email_verified_at IS NOT NULL OR u.password_hash IS NULL AS may_generate
FROM accounts.api_keys k JOIN accounts.users u USING (user_id)
WHERE k.key_id = $1 AND k.secret_hash = $2 AND {valid_key} AND {open_account}
"""
FIND: Final = _FIND.format(valid_key=VALID_KEY, open_account=OPEN_ACCOUNT)

ADD_USER: Final = "INSERT INTO accounts.users (user_id, email, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

FIND_USER: Final = "SELECT user_id, role FROM accounts.users WHERE lower(email) = lower($1) AND deleted_at IS NULL"

LIST_USERS: Final = """
SELECT u.user_id, u.email, u.role, u.created_at, count(k.key_id) FILTER (WHERE k.revoked_at IS NULL) AS keys
FROM accounts.users u LEFT JOIN accounts.api_keys k USING (user_id) GROUP BY u.user_id ORDER BY u.created_at, u.email
"""

KEYS: Final = """
SELECT k.key_id, k.user_id, u.email, u.role, k.name, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at
FROM accounts.api_keys k JOIN accounts.users u USING (user_id)
"""
ALL_KEYS: Final = f"{KEYS} WHERE $1::text IS NULL OR lower(u.email) = lower($1) ORDER BY k.created_at, k.key_id"
# What ends last is first: keys without an end, then those that expire, then those that have ended.
KEYS_OF_USER: Final = f"""{KEYS} WHERE k.user_id = $1
ORDER BY coalesce(least(k.revoked_at, k.expires_at), 'infinity') DESC, k.created_at, k.key_id LIMIT $2
"""
KEY: Final = f"{KEYS} WHERE k.key_id = $1 AND ($2::uuid IS NULL OR k.user_id = $2) FOR UPDATE OF k"

LOCK_USER: Final = "SELECT role FROM accounts.users WHERE user_id = $1 AND deleted_at IS NULL FOR UPDATE"
_COUNT_VALID: Final = "SELECT count(*) FROM accounts.api_keys k WHERE k.user_id = $1 AND {valid_key}"
COUNT_VALID: Final = _COUNT_VALID.format(valid_key=VALID_KEY)
PRUNE: Final = """
DELETE FROM accounts.api_keys WHERE key_id IN (
    SELECT key_id FROM accounts.api_keys WHERE least(revoked_at, expires_at) < now() - $1::interval
    LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
REVOKE: Final = "UPDATE accounts.api_keys SET revoked_at = now() WHERE key_id = $1"
# Of 32 bits: an id that another key has is not taken.
ADD_KEY: Final = """
INSERT INTO accounts.api_keys (key_id, user_id, secret_hash, name, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key_id) DO NOTHING RETURNING created_at
"""

OPERATOR: Final = Actor(LOCAL)


@dataclass(frozen=True, slots=True)
class User:
    """`keys`: the number of those that are not revoked."""

    user_id: UUID
    email: str
    role: Role
    created_at: datetime
    keys: int


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """What a key is to be. `scopes` None: all that the role of its user allows, now and after a change of it;
    `expires_at` None: never."""

    name: str = ""
    scopes: frozenset[Scope] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `scopes`: what it allows. `last_used_at`: within a minute or two. `revoked_at` None: it
    is valid until it expires."""

    key_id: str
    user_id: UUID
    email: str
    role: Role
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ScopesNotAllowedError(PermanentError):
    """The role of the user does not allow them."""


class TooManyKeysError(PermanentError):
    """The user has KEYS_OF_USER_MAX valid ones."""


async def authenticate(pool: Pool, key: str) -> Principal | None:
    """The principal of the key; None for an unknown, malformed, revoked or expired key. A key without the form or the
    checksum of one costs no query."""
    if (key_id := key_id_of(key)) is None:
        return None
    with transient_errors():
        row = await pool.fetchrow(FIND, key_id, hash_key(key))
    return principal_of_row(row) if row else None


def principal_of_row(row: asyncpg.Record) -> Principal:
    """Of the columns user_id, role, key_id, scopes and may_generate."""
    scopes = granted(row["role"], _chosen(row["scopes"]))
    return Principal(row["user_id"], row["role"], scopes, row["key_id"], may_generate=row["may_generate"])


def _chosen(scopes: Collection[Scope] | None) -> frozenset[Scope] | None:
    return None if scopes is None else frozenset(scopes)


def hash_key(key: str) -> bytes:
    """SHA-256: 256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).digest()


async def seed_user(
    pool: Pool, email: str, role: Role, choice: KeyChoice = KeyChoice(), actor: Actor = OPERATOR
) -> str:
    """Creates the user if missing and returns a new key; earlier keys stay valid. Raises PermanentError, and creates
    nothing, when the user exists with another role: its other keys would change theirs."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            added = await connection.execute(ADD_USER, user_id := new_id(), email, role)
            if added.endswith("1"):
                await record(connection, "user.created", actor, user_id, role=role)
            user = await connection.fetchrow(FIND_USER, email)
            if user is None or user["role"] != role:
                found = f"with the role {user['role']}, which is not changed" if user is not None else "and is deleted"
                raise PermanentError(f"{email} exists {found}: use another e-mail address")
            return (await _add_key(connection, user["user_id"], role, choice, actor)).text


async def create_key(pool: Pool, email: str, choice: KeyChoice = KeyChoice(), actor: Actor = OPERATOR) -> "NewKey":
    """A new key of a user that exists. Raises PermanentError when there is none, or it may not have this key."""
    with transient_errors():
        user = await pool.fetchrow(FIND_USER, email)
    if user is None:
        raise PermanentError(f"there is no user {email}: `gengui-stream seed --email {email}` creates it")
    return await create_key_of(pool, user["user_id"], choice, actor)


@dataclass(frozen=True, slots=True)
class NewKey:
    """`text`: the key, known to its caller alone."""

    text: str
    key: ApiKey


async def create_key_of(pool: Pool, user_id: UUID, choice: KeyChoice, actor: Actor) -> NewKey:
    """Raises ScopesNotAllowedError, TooManyKeysError, and PermanentError when there is no such user."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            role: Role | None = await connection.fetchval(LOCK_USER, user_id)
            if role is None:
                raise PermanentError("there is no such user")
            if await connection.fetchval(COUNT_VALID, user_id) >= KEYS_OF_USER_MAX:
                raise TooManyKeysError(f"a user has at most {KEYS_OF_USER_MAX} valid keys: revoke one first")
            return await _add_key(connection, user_id, role, choice, actor)


async def _add_key(connection: Connection, user_id: UUID, role: Role, choice: KeyChoice, actor: Actor) -> NewKey:
    scopes, made = _allowed(role, choice), new_key_text()
    while not await connection.fetchval(
        ADD_KEY, made.key_id, user_id, hash_key(made.text), choice.name, scopes, choice.expires_at
    ):
        made = new_key_text()
    await record(connection, "key.created", actor, user_id, key_id=made.key_id, scopes=scopes)
    row = await connection.fetchrow(KEY, made.key_id, None)
    return NewKey(made.text, _key(row))


def _allowed(role: Role, choice: KeyChoice) -> list[Scope] | None:
    if choice.scopes is None:
        return None
    if missing := choice.scopes - SCOPES_OF[role]:
        has = ", ".join(sorted(SCOPES_OF[role]))
        raise ScopesNotAllowedError(f"the role {role} does not allow {', '.join(sorted(missing))}; it allows {has}")
    return sorted(choice.scopes)


async def list_users(pool: Pool) -> list[User]:
    """In the order of their creation."""
    with transient_errors():
        return [User(*row) for row in await pool.fetch(LIST_USERS)]


async def list_keys(pool: Pool, email: str | None = None) -> list[ApiKey]:
    """In the order of their creation; revoked ones too. `email`: of this user alone."""
    with transient_errors():
        return [_key(row) for row in await pool.fetch(ALL_KEYS, email)]


async def list_keys_of(pool: Pool, user_id: UUID) -> list[ApiKey]:
    """At most KEYS_LISTED_MAX: valid ones first, then those that ended last."""
    with transient_errors():
        return [_key(row) for row in await pool.fetch(KEYS_OF_USER, user_id, KEYS_LISTED_MAX)]


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX keys that ended ENDED_KEPT ago; returns their number."""
    return await delete_rows(pool, PRUNE, ENDED_KEPT, PRUNED_MAX)


def _key(row: asyncpg.Record | None) -> ApiKey:
    if row is None:
        raise PermanentError("there is no such key")
    return ApiKey(**{**row, "scopes": tuple(sorted(granted(row["role"], _chosen(row["scopes"]))))})


async def revoke_key(pool: Pool, key_id: str, *, user_id: UUID | None = None, actor: Actor = OPERATOR) -> ApiKey:
    """The key, revoked now or before: no request that begins from now on is accepted with it. Raises PermanentError
    when there is none, or it is not a key of this user."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(KEY, key_id, user_id)
            if row is None:
                raise PermanentError(f"there is no key {key_id}: `gengui-stream keys list` shows all")
            if row["revoked_at"] is None:
                await connection.execute(REVOKE, key_id)
                await record(connection, "key.revoked", actor, row["user_id"], key_id=key_id)
            return _key(await connection.fetchrow(KEY, key_id, user_id))
