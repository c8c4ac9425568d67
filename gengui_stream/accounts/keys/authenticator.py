"""Authenticates the API keys of requests.

Each request asks PostgreSQL (docs/security.md has what that costs). So a key that was revoked, or whose user was
deleted or has another role, is refused from that transaction on, by every process, whatever Redis and the clocks do. A
cache that Redis invalidates could not promise that: a subscription whose connection is cut looks like a silent one.
"""

from gengui_stream.accounts.keys.api_keys import authenticate
from gengui_stream.accounts.keys.key_usage import KeyUsage
from gengui_stream.accounts.principals import Principal
from gengui_stream.postgres.pool import Pool


class KeyAuthenticator:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.usage = KeyUsage(pool)

    async def principal(self, key: str) -> Principal | None:
        """None for a key that is not valid. Raises TransientError when PostgreSQL is unavailable."""
        found = await authenticate(self._pool, key)
        if found is not None:
            self.usage.used(found.key_id)
        return found
