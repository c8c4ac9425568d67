"""Rows of users: found by log-in, made by sign-up, changed by their owners. Names and addresses ignore case."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.accounts.keys.validity import OPEN_ACCOUNT
from gengui_stream.accounts.principals import Role
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Connection, PoolOrConnection, transient_errors

_FIND: Final = """
SELECT user_id, email, user_name, role, password_hash, email_verified_at, created_at, delete_after
FROM accounts.users u WHERE {open_account} AND
"""
FIND: Final = _FIND.format(open_account=OPEN_ACCOUNT)
BY_ID: Final = FIND + "user_id = $1"
BY_EMAIL: Final = FIND + "lower(email) = lower($1)"
BY_NAME: Final = FIND + "lower(user_name) = lower($1)"

NAME_TAKEN: Final = """
SELECT EXISTS (SELECT 1 FROM accounts.users WHERE lower(user_name) = lower($1) AND user_id IS DISTINCT FROM $2)
    OR EXISTS (SELECT 1 FROM accounts.reserved_names WHERE name = lower($1) AND user_id IS DISTINCT FROM $2)
"""
# One statement for a known address and for a new one. No row: the name, or the address, was taken a moment ago, or the
# account released. The row is kept until the end of the transaction.
CREATE: Final = """
WITH made AS (
    INSERT INTO accounts.users (user_id, email, user_name, role, password_hash) VALUES ($1, $2, $3, 'user', $4)
    ON CONFLICT DO NOTHING RETURNING user_id, email
)
SELECT user_id, email, true AS created FROM made
UNION ALL SELECT user_id, email, false FROM (
    SELECT user_id, email FROM accounts.users WHERE lower(email) = lower($2) AND deleted_at IS NULL FOR KEY SHARE
) AS known
"""
RESERVE: Final = """
INSERT INTO accounts.reserved_names AS r (name, user_id, signed_up_at) VALUES (lower($1), $2, now())
ON CONFLICT (name) DO UPDATE SET signed_up_at = CASE WHEN r.signed_up_at IS NOT NULL THEN now() END
WHERE r.user_id = EXCLUDED.user_id RETURNING true
"""
KEEP: Final = """
INSERT INTO accounts.reserved_names AS r (name, user_id, signed_up_at) VALUES (lower($1), $2, NULL)
ON CONFLICT (name) DO UPDATE SET signed_up_at = NULL WHERE r.user_id = EXCLUDED.user_id RETURNING true
"""

VERIFY: Final = """
UPDATE accounts.users SET email_verified_at = coalesce(email_verified_at, now())
WHERE user_id = $1 AND email = $2 AND deleted_at IS NULL RETURNING true
"""
NAME: Final = "SELECT user_name FROM accounts.users WHERE user_id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"
RENAME: Final = "UPDATE accounts.users SET user_name = $2 WHERE user_id = $1 AND deleted_at IS NULL RETURNING true"
SET_HASH: Final = "UPDATE accounts.users SET password_hash = $2 WHERE user_id = $1 AND deleted_at IS NULL"
# Another log-in, or a change of the password, may have been faster.
REHASH: Final = "UPDATE accounts.users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2"
# A change of the password waits for the end of the transaction. Not FOR SHARE: two transactions that hold the row and
# then update it would wait for each other.
_HOLD: Final = """
SELECT true FROM accounts.users u WHERE user_id = $1 AND password_hash = $2 AND {open_account} FOR NO KEY UPDATE
"""
HOLD: Final = _HOLD.format(open_account=OPEN_ACCOUNT)
LOCK: Final = "SELECT email FROM accounts.users WHERE user_id = $1 AND deleted_at IS NULL FOR UPDATE"
SET_EMAIL: Final = """
UPDATE accounts.users SET email = $2, email_verified_at = now()
WHERE user_id = $1 AND NOT EXISTS (SELECT 1 FROM accounts.users WHERE lower(email) = lower($2) AND user_id <> $1)
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class User:
    """`user_name` None: made by an operator. `password_hash` None: no log-in by password. `delete_after`: the
    account is deleted then, as its user has requested."""

    user_id: UUID
    email: str
    user_name: str | None
    role: Role
    password_hash: str | None = field(repr=False)
    email_verified_at: datetime | None
    created_at: datetime
    delete_after: datetime | None


@dataclass(frozen=True, slots=True)
class SignUp:
    """`created` False: the address had an account before, which is that of `user_id`. `email`: as this account has
    it."""

    user_id: UUID
    email: str
    created: bool


async def find(connection: PoolOrConnection, user_id: UUID) -> User | None:
    return await _one(connection, BY_ID, user_id)


async def find_by_email(connection: PoolOrConnection, email: str) -> User | None:
    return await _one(connection, BY_EMAIL, email)


async def find_by_login(connection: PoolOrConnection, login: str) -> User | None:
    """By the e-mail address, or by the name, which has no `@`."""
    return await _one(connection, BY_EMAIL if "@" in login else BY_NAME, login)


async def _one(connection: PoolOrConnection, statement: str, value: object) -> User | None:
    with transient_errors():
        row = await connection.fetchrow(statement, value)
    return User(**row) if row else None


async def is_name_taken(connection: PoolOrConnection, user_name: str, by_other_than: UUID | None = None) -> bool:
    """Also by a sign-up that made no account, because its address had one."""
    with transient_errors():
        return bool(await connection.fetchval(NAME_TAKEN, user_name, by_other_than))


async def sign_up(connection: Connection, email: str, user_name: str, password_hash: str) -> SignUp | None:
    """A new user, or the one that has the address, with the same statements; the name is reserved either way, for the
    same time (`deletion.release_sign_ups`). None: the name is taken. In the caller's transaction, which is to be rolled
    back then."""
    with transient_errors():
        row = await connection.fetchrow(CREATE, new_id(), email, user_name, password_hash)
        if row is None or not await connection.fetchval(RESERVE, user_name, row["user_id"]):
            return None
    return SignUp(**row)


async def verify_email(connection: Connection, user_id: UUID, email: str) -> bool:
    """False when the user has another address by now."""
    with transient_errors():
        return bool(await connection.fetchval(VERIFY, user_id, email))


async def rename(connection: Connection, user_id: UUID, user_name: str) -> bool:
    """False when the name is taken. The earlier name stays reserved for the user. In the caller's transaction."""
    with transient_errors():
        former = await connection.fetchval(NAME, user_id)
        for name in (former, user_name):
            if name is not None and not await connection.fetchval(KEEP, name, user_id):
                return False
        try:
            async with connection.transaction():
                return bool(await connection.fetchval(RENAME, user_id, user_name))
        except asyncpg.UniqueViolationError:
            return False


async def hold(connection: Connection, user: User) -> bool:
    """Keeps the password, with which the user was found, until the end of the caller's transaction. False: it was
    changed since, or the account deleted."""
    with transient_errors():
        return bool(await connection.fetchval(HOLD, user.user_id, user.password_hash))


async def set_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    with transient_errors():
        await connection.execute(SET_HASH, user_id, password_hash)


async def rehash(connection: PoolOrConnection, user_id: UUID, old_hash: str, new_hash: str) -> None:
    """The same password, hashed with other parameters. Does nothing when the password has changed since."""
    with transient_errors():
        await connection.execute(REHASH, user_id, old_hash, new_hash)


async def change_email(connection: Connection, user_id: UUID, email: str) -> str | None:
    """The former address; None when another account has the new one. In the caller's transaction."""
    with transient_errors():
        former = await connection.fetchval(LOCK, user_id)
        try:
            async with connection.transaction():
                changed = former is not None and await connection.fetchval(SET_EMAIL, user_id, email)
        except asyncpg.UniqueViolationError:
            return None
    return str(former) if changed else None
