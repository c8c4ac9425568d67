"""Tokens for event streams, sent in the query: a browser's EventSource sends no header. A token stands for the key that
made it, for a few minutes and for streams alone; only its hash is stored."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gengui_stream.accounts.keys.api_keys import hash_key, principal_of_row
from gengui_stream.accounts.keys.validity import OPEN_ACCOUNT, VALID_KEY
from gengui_stream.accounts.principals import Principal
from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Pool, transient_errors

VALID_FOR: Final = timedelta(minutes=10)

PRUNED_MAX: Final = 1_000

_SHAPE: Final = re.compile(r"gg_stream_[A-Za-z0-9_-]{43}")

INSERT: Final = """
INSERT INTO accounts.stream_tokens (token_hash, key_id, expires_at)
SELECT $1, key_id, now() + $3::interval FROM accounts.api_keys WHERE secret_hash = $2 AND revoked_at IS NULL
RETURNING expires_at
"""

PRUNE: Final = """
DELETE FROM accounts.stream_tokens WHERE token_hash IN (
    SELECT token_hash FROM accounts.stream_tokens WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
"""

_FIND: Final = """
SELECT u.user_id, u.role, k.key_id, k.scopes, true AS may_generate
FROM accounts.stream_tokens t JOIN accounts.api_keys k USING (key_id) JOIN accounts.users u USING (user_id)
WHERE t.token_hash = $1 AND t.expires_at > now() AND {valid_key} AND {open_account}
"""
FIND: Final = _FIND.format(valid_key=VALID_KEY, open_account=OPEN_ACCOUNT)


@dataclass(frozen=True, slots=True)
class StreamToken:
    token: str
    expires_at: datetime


async def issue(pool: Pool, key: str) -> StreamToken | None:
    """A new token of the key, which is removed some time after its expiry; None for a key that is not valid."""
    token = f"gg_stream_{secrets.token_urlsafe(32)}"
    with transient_errors():
        expires_at = await pool.fetchval(INSERT, hash_key(token), hash_key(key), VALID_FOR)
    return None if expires_at is None else StreamToken(token, expires_at)


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX of those that have expired; returns their number."""
    return await delete_rows(pool, PRUNE, PRUNED_MAX)


async def principal_of_token(pool: Pool, token: str) -> Principal | None:
    """None for a token that is unknown or expired, or whose key was revoked."""
    if _SHAPE.fullmatch(token) is None:
        return None
    with transient_errors():
        row = await pool.fetchrow(FIND, hash_key(token))
    return principal_of_row(row) if row else None
