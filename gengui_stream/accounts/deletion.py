"""The deletion of an account: requested, taken back, and carried out after its grace time. And the release of sign-ups
whose address was never verified, so that no stranger holds an address or a name for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.accounts import audit_events
from gengui_stream.accounts.audit_events import BY_ITSELF
from gengui_stream.postgres.pool import Connection, Pool, transient_errors

DUE_MAX: Final = 100

LOCK: Final = "SELECT email, delete_after FROM accounts.users WHERE user_id = $1 AND deleted_at IS NULL FOR UPDATE"
SET_TIME: Final = """
UPDATE accounts.users SET delete_after = now() + $2::interval WHERE user_id = $1 RETURNING delete_after
"""
RESTORE: Final = """
UPDATE accounts.users SET delete_after = NULL
WHERE user_id = $1 AND deleted_at IS NULL AND delete_after > now() RETURNING true
"""

DUE: Final = """
SELECT user_id, extract(epoch FROM now() - delete_after)::float8 AS closed_s FROM accounts.users
WHERE delete_after <= now() AND deleted_at IS NULL ORDER BY delete_after LIMIT $1
"""

CLOSE: Final = (
    "UPDATE accounts.api_keys SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL",
    "DELETE FROM accounts.sessions WHERE user_id = $1",
    "DELETE FROM accounts.stream_tokens t USING accounts.api_keys k WHERE t.key_id = k.key_id AND k.user_id = $1",
    "DELETE FROM accounts.emails WHERE user_id = $1",
    "DELETE FROM accounts.one_time_tokens WHERE user_id = $1",
)

# The row stays, because others refer to it; its address is none, so that no sign-up finds it.
FORGET_USER: Final = """
UPDATE accounts.users SET deleted_at = now(), email = 'deleted:' || user_id, user_name = NULL, password_hash = NULL,
    email_verified_at = NULL, preferences = NULL, daily_limit = NULL, in_progress_limit = NULL
WHERE user_id = $1 AND delete_after <= now() AND deleted_at IS NULL RETURNING true
"""
FORGET: Final = (
    "UPDATE accounts.api_keys SET name = '' WHERE user_id = $1",
    "DELETE FROM accounts.idempotency_keys WHERE owner_id = $1",
    "DELETE FROM accounts.login_networks WHERE user_id = $1",
    "DELETE FROM accounts.reserved_names WHERE user_id = $1",
    "DELETE FROM accounts.daily_usage WHERE user_id = $1",
)

RELEASED_MAX: Final = 1_000

# Every sign-up has a name here, whether its address had an account or not. With the last one of an address, all end.
ENDED_SIGN_UPS: Final = """
SELECT DISTINCT user_id FROM accounts.reserved_names r
WHERE signed_up_at < now() - $1::interval AND ($3::uuid[] IS NULL OR user_id = ANY($3)) AND NOT EXISTS (
    SELECT FROM accounts.reserved_names l WHERE l.user_id = r.user_id AND l.signed_up_at >= now() - $1::interval)
LIMIT $2
"""
# In the order of a verification, which uses a token and then changes the row of the user.
LOCK_TOKENS: Final = """
SELECT FROM accounts.one_time_tokens WHERE user_id = ANY($1) ORDER BY token_hash FOR UPDATE
"""
# Afterwards none of them is verified, gets a key or a session, or is signed up again.
LOCK_USERS: Final = """
SELECT user_id FROM accounts.users WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE SKIP LOCKED
"""
# An account that generates, has a key or a session, or belongs to an operator, is none of a sign-up alone.
UNVERIFIED: Final = """
SELECT user_id FROM accounts.users u
WHERE user_id = ANY($1) AND role = 'user' AND password_hash IS NOT NULL AND email_verified_at IS NULL
    AND delete_after IS NULL AND deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM accounts.api_keys k WHERE k.user_id = u.user_id)
    AND NOT EXISTS (SELECT FROM accounts.sessions s WHERE s.user_id = u.user_id)
    AND NOT EXISTS (SELECT FROM accounts.daily_usage d WHERE d.user_id = u.user_id)
    AND NOT EXISTS (SELECT FROM projections.generation_requests g WHERE g.owner_id = u.user_id)
"""
RELEASE_NAMES: Final = "DELETE FROM accounts.reserved_names WHERE user_id = ANY($1) AND signed_up_at IS NOT NULL"
# An e-mail that is being sent ends by itself: its account is gone.
RELEASE: Final = (
    """
    DELETE FROM accounts.emails WHERE email_id IN (
        SELECT email_id FROM accounts.emails WHERE user_id = ANY($1) FOR UPDATE SKIP LOCKED)
    """,
    "DELETE FROM accounts.one_time_tokens WHERE user_id = ANY($1)",
    "DELETE FROM accounts.login_networks WHERE user_id = ANY($1)",
    "DELETE FROM accounts.reserved_names WHERE user_id = ANY($1)",
    "DELETE FROM accounts.users WHERE user_id = ANY($1)",
)


@dataclass(frozen=True, slots=True)
class Requested:
    """`first`: it was not requested before."""

    delete_after: datetime
    email: str
    first: bool


@dataclass(frozen=True, slots=True)
class DueDeletion:
    """`closed_s`: seconds since when every request of the user is refused."""

    user_id: UUID
    closed_s: float


async def request(connection: Connection, user_id: UUID, grace: timedelta) -> Requested | None:
    """A repeated request changes nothing. None when the account is deleted. In the caller's transaction."""
    with transient_errors():
        user = await connection.fetchrow(LOCK, user_id)
        if user is None:
            return None
        if user["delete_after"] is not None:
            return Requested(user["delete_after"], user["email"], first=False)
        return Requested(await connection.fetchval(SET_TIME, user_id, grace), user["email"], first=True)


async def restore(connection: Connection, user_id: UUID) -> bool:
    """False when no deletion was requested, or its time has come."""
    with transient_errors():
        return bool(await connection.fetchval(RESTORE, user_id))


async def due(pool: Pool) -> list[DueDeletion]:
    """At most DUE_MAX, the earliest first."""
    with transient_errors():
        return [DueDeletion(**row) for row in await pool.fetch(DUE, DUE_MAX)]


async def close(pool: Pool, user_id: UUID) -> None:
    """Revokes whatever the user could authenticate with."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            for statement in CLOSE:
                await connection.execute(statement, user_id)


async def forget(pool: Pool, user_id: UUID) -> bool:
    """Removes what the account says about a person, once. False: it was done before. Audit events stay."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(FORGET_USER, user_id):
                return False
            for statement in (*CLOSE, *FORGET):
                await connection.execute(statement, user_id)
            await audit_events.record(connection, "account.deleted", BY_ITSELF, user_id)
    return True


async def release_sign_ups(pool: Pool, kept: timedelta) -> int:
    """Removes the accounts of at most RELEASED_MAX addresses whose last sign-up was `kept` ago and that were never
    verified, and the names that sign-ups with known addresses have reserved; returns the number of addresses.

    Both end alike: that a name is free again must not tell whether the address had an account."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            found = _users(await connection.fetch(ENDED_SIGN_UPS, kept, RELEASED_MAX, None))
            await connection.execute(LOCK_TOKENS, found)
            locked = _users(await connection.fetch(LOCK_USERS, found))
            ended = _users(await connection.fetch(ENDED_SIGN_UPS, kept, RELEASED_MAX, locked))
            await connection.execute(RELEASE_NAMES, ended)
            await _release(connection, _users(await connection.fetch(UNVERIFIED, ended)))
    return len(ended)


def _users(rows: Sequence[asyncpg.Record]) -> list[UUID]:
    return [row["user_id"] for row in rows]


async def _release(connection: Connection, user_ids: Sequence[UUID]) -> None:
    for statement in RELEASE:
        await connection.execute(statement, user_ids)
    for user_id in user_ids:
        await audit_events.record(connection, "account.released", BY_ITSELF, user_id)
