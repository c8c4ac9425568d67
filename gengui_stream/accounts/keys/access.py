"""Whether what a request was authenticated by still holds: an event stream goes on for hours after it."""

from typing import Final

from gengui_stream.accounts.keys.validity import OPEN_ACCOUNT, VALID_KEY
from gengui_stream.accounts.principals import Principal, granted
from gengui_stream.postgres.pool import Pool, transient_errors

_KEY: Final = """
SELECT u.role, k.scopes FROM accounts.api_keys k JOIN accounts.users u USING (user_id)
WHERE k.key_id = $1 AND {valid_key} AND {open_account}
"""
KEY: Final = _KEY.format(valid_key=VALID_KEY, open_account=OPEN_ACCOUNT)

_SESSION: Final = """
SELECT u.role, NULL::text[] AS scopes FROM accounts.sessions s JOIN accounts.users u USING (user_id)
WHERE s.session_id = $1 AND s.expires_at > now() AND {open_account}
"""
SESSION: Final = _SESSION.format(open_account=OPEN_ACCOUNT)


async def still_holds(pool: Pool, principal: Principal) -> bool:
    """Whether the key or the session is valid, and allows all that it allowed when it was accepted: not after the role
    of its user was changed to one that allows less."""
    with transient_errors():
        if principal.session_id is None:
            row = await pool.fetchrow(KEY, principal.key_id)
        else:
            row = await pool.fetchrow(SESSION, principal.session_id)
    if row is None:
        return False
    chosen = None if row["scopes"] is None else frozenset(row["scopes"])
    return principal.scopes <= granted(row["role"], chosen)
