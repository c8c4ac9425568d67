"""Tokens in the links of e-mails: random, stored as a hash, valid for one purpose and one use."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final, Literal, TypeAlias
from uuid import UUID

from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Connection, Pool, transient_errors

Purpose: TypeAlias = Literal["verify_email", "change_email", "reset_password"]

VALID_FOR: Final[Mapping[Purpose, timedelta]] = MappingProxyType(
    {
        "verify_email": timedelta(hours=24),
        "change_email": timedelta(hours=24),
        "reset_password": timedelta(hours=1),
    }
)
"""As in the original service."""

KEPT: Final[Mapping[Purpose, int]] = MappingProxyType({"verify_email": 5, "change_email": 1, "reset_password": 5})
"""Valid tokens of one user. Anyone may request another e-mail to verify an address or to reset a password, which must
not end the link that the user has just received. A change of the address is requested by its user alone: an earlier one
may have had a wrong address."""

_SHAPE: Final = re.compile(r"gg_once_[A-Za-z0-9_-]{43}")

REPLACE: Final = """
DELETE FROM accounts.one_time_tokens WHERE token_hash IN (
    SELECT token_hash FROM accounts.one_time_tokens
    WHERE user_id = $1 AND purpose = $2 AND (email_id = $3) IS NOT TRUE ORDER BY expires_at DESC, token_hash OFFSET $4)
"""
INSERT: Final = """
INSERT INTO accounts.one_time_tokens (token_hash, user_id, purpose, email, expires_at, email_id)
VALUES ($1, $2, $3, $4, now() + $5::interval, $6)
"""
# One statement: of two uses at the same time one finds the row. It ends the others of its user and purpose.
USE: Final = """
WITH used AS (
    DELETE FROM accounts.one_time_tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > now()
    RETURNING user_id, email),
others AS (
    DELETE FROM accounts.one_time_tokens o USING used
    WHERE o.user_id = used.user_id AND o.purpose = $2 AND o.token_hash <> $1)
SELECT user_id, email FROM used
"""
REVOKE: Final = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1"
PRUNE: Final = """
DELETE FROM accounts.one_time_tokens WHERE token_hash IN (
    SELECT token_hash FROM accounts.one_time_tokens WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
"""
PRUNED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class UsedToken:
    """`email`: the address that the token was sent to."""

    user_id: UUID
    email: str


async def issue(
    connection: Connection, user_id: UUID, purpose: Purpose, email: str, email_id: UUID | None = None
) -> str:
    """A new token, in place of the earliest ones of the same user and purpose beyond KEPT; those of the same e-mail,
    which is sent again, stay valid. It is known to its caller alone."""
    token = f"gg_once_{secrets.token_urlsafe(32)}"
    with transient_errors():
        async with connection.transaction():
            await connection.execute(REPLACE, user_id, purpose, email_id, KEPT[purpose] - 1)
            await connection.execute(INSERT, _hash(token), user_id, purpose, email, VALID_FOR[purpose], email_id)
    return token


async def use(connection: Connection, token: str, purpose: Purpose) -> UsedToken | None:
    """None, whatever the reason, for a token that is malformed, unknown, used, expired or of another purpose. Within
    the caller's transaction the token can be used again if that is rolled back."""
    if _SHAPE.fullmatch(token) is None:
        return None
    with transient_errors():
        row = await connection.fetchrow(USE, _hash(token), purpose)
    return UsedToken(row["user_id"], row["email"]) if row else None


async def revoke_all(connection: Connection, user_id: UUID) -> None:
    """After a change of the password: a change of the address, requested with the former one, must not be confirmed."""
    with transient_errors():
        await connection.execute(REVOKE, user_id)


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX of those that have expired; returns their number."""
    return await delete_rows(pool, PRUNE, PRUNED_MAX)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
