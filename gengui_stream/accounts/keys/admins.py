"""Admins: users whose role an operator has changed, or that an operator has made."""

from typing import Final
from uuid import UUID

from gengui_stream.accounts import sessions, users
from gengui_stream.accounts.audit_events import Actor, record
from gengui_stream.accounts.principals import Role
from gengui_stream.errors import PermanentError
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool, transient_errors

ADD: Final = """
INSERT INTO accounts.users (user_id, email, role, password_hash, email_verified_at) VALUES ($1, $2, 'admin', $3, now())
ON CONFLICT DO NOTHING RETURNING user_id
"""
LOCK: Final = """
SELECT user_id, role, email_verified_at IS NULL AND password_hash IS NOT NULL AS unverified FROM accounts.users
WHERE lower(email) = lower($1) AND deleted_at IS NULL FOR UPDATE
"""
SET_ROLE: Final = "UPDATE accounts.users SET role = $2 WHERE user_id = $1"


async def add_admin(pool: Pool, email: str, password_hash: str, actor: Actor) -> UUID:
    """A new admin whose address counts as verified. Raises PermanentError when the address has an account."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            user_id: UUID | None = await connection.fetchval(ADD, new_id(), email, password_hash)
            if user_id is None:
                raise PermanentError(f"{email} has an account: run the command again")
            await record(connection, "user.created", actor, user_id, role="admin")
    return user_id


async def change_role(pool: Pool, email: str, role: Role, actor: Actor) -> UUID:
    """Of a user or an admin, whose sessions end. Raises PermanentError for another account, or none, and for an admin
    of a sign-up that was not verified."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(LOCK, email)
            if row is None:
                raise PermanentError(f"there is no user {email}")
            if row["role"] == "worker":
                raise PermanentError(
                    f"{email} is an account of machines, whose role is not changed: use another address"
                )
            if role == "admin" and row["unverified"]:
                raise PermanentError(
                    f"{email} is not verified, and its password may be that of a stranger: follow the link of its "
                    "e-mail, or reset the password, and run the command again"
                )
            user_id: UUID = row["user_id"]
            if row["role"] != role:
                await connection.execute(SET_ROLE, user_id, role)
                await sessions.end_all(connection, user_id)
                await record(connection, "role.changed", actor, user_id, before=row["role"], role=role)
    return user_id


async def is_known(pool: Pool, email: str) -> bool:
    return await users.find_by_email(pool, email) is not None
