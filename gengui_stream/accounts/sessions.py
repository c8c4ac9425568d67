"""Sessions: one for each log-in. The token is in the client's cookie, and stored only as a hash."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from gengui_stream.accounts.keys.validity import OPEN_ACCOUNT
from gengui_stream.accounts.principals import Principal, granted
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Connection, Pool, PoolOrConnection, transient_errors

SEEN_WITHIN: Final = timedelta(minutes=5)
"""How far `last_seen_at` may be behind: a write at each request would cost more than the request."""
USER_AGENT_MAX: Final = 300
PRUNED_MAX: Final = 1_000

_SHAPE: Final = re.compile(r"gg_session_[A-Za-z0-9_-]{43}")

INSERT: Final = """
INSERT INTO accounts.sessions (token_hash, session_id, user_id, expires_at, address, user_agent)
VALUES ($1, $2, $3, now() + $4::interval, $5, $6)
"""
_FIND: Final = """
SELECT s.session_id, u.user_id, u.role, u.email_verified_at IS NOT NULL OR u.password_hash IS NULL AS may_generate,
    s.last_seen_at < now() - $2::interval AS seen_long_ago
FROM accounts.sessions s JOIN accounts.users u USING (user_id)
WHERE s.token_hash = $1 AND s.expires_at > now() AND {open_account}
"""
FIND: Final = _FIND.format(open_account=OPEN_ACCOUNT)
SEEN: Final = """
UPDATE accounts.sessions SET last_seen_at = now() WHERE session_id = $1 AND last_seen_at < now() - $2::interval
"""
LIST: Final = """
SELECT session_id, created_at, last_seen_at, expires_at, address, user_agent FROM accounts.sessions
WHERE user_id = $1 AND expires_at > now() ORDER BY last_seen_at DESC, session_id LIMIT $2
"""
END_COOKIE: Final = "DELETE FROM accounts.sessions WHERE token_hash = $1 RETURNING session_id, user_id"
END: Final = "DELETE FROM accounts.sessions WHERE user_id = $1 AND session_id = $2 RETURNING true"
END_ALL: Final = """
DELETE FROM accounts.sessions WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 RETURNING session_id
"""
PRUNE: Final = """
DELETE FROM accounts.sessions WHERE token_hash IN (
    SELECT token_hash FROM accounts.sessions WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class Session:
    """`last_seen_at`: SEEN_WITHIN of the last request. `address`, `user_agent`: of the log-in."""

    session_id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class EndedSession:
    session_id: UUID
    user_id: UUID


async def start(connection: Connection, user_id: UUID, valid_for: timedelta, address: str, user_agent: str) -> str:
    """The token of a new session, known to its caller alone."""
    token = f"gg_session_{secrets.token_urlsafe(32)}"
    agent = user_agent.encode("ascii", "replace").decode()[:USER_AGENT_MAX]
    with transient_errors():
        await connection.execute(INSERT, _hash(token), new_id(), user_id, valid_for, address, agent)
    return token


async def authenticate(pool: Pool, token: str) -> Principal | None:
    """None for a token that is malformed, unknown, revoked or expired. Without a cache: a revoked session has ended for
    every process at once."""
    if _SHAPE.fullmatch(token) is None:
        return None
    with transient_errors():
        row = await pool.fetchrow(FIND, _hash(token), SEEN_WITHIN)
        if row is not None and row["seen_long_ago"]:
            await pool.execute(SEEN, row["session_id"], SEEN_WITHIN)
    if row is None:
        return None
    scopes = granted(row["role"], None) - {"worker"}
    return Principal(
        row["user_id"], row["role"], scopes, session_id=row["session_id"], may_generate=row["may_generate"]
    )


async def list_sessions(pool: Pool, user_id: UUID, limit: int) -> list[Session]:
    """The one that was seen last first."""
    with transient_errors():
        return [Session(**row) for row in await pool.fetch(LIST, user_id, limit)]


async def end_by_token(connection: PoolOrConnection, token: str) -> EndedSession | None:
    with transient_errors():
        row = await connection.fetchrow(END_COOKIE, _hash(token))
    return EndedSession(**row) if row else None


async def end(connection: PoolOrConnection, user_id: UUID, session_id: UUID) -> bool:
    """False when the user has no such session."""
    with transient_errors():
        return bool(await connection.fetchval(END, user_id, session_id))


async def end_all(connection: PoolOrConnection, user_id: UUID, except_for: UUID | None = None) -> int:
    """The number of ended sessions."""
    with transient_errors():
        return len(await connection.fetch(END_ALL, user_id, except_for))


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX of those that have expired; returns their number."""
    return await delete_rows(pool, PRUNE, PRUNED_MAX)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
