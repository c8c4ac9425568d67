"""Caches the principal of a key for a few seconds, by the key's hash."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gengui_stream.accounts.api_keys import Principal, authenticate, hash_key
from gengui_stream.postgres.pool import Pool

KEY_CACHE_S: Final = 5.0
"""How long a revoked key is still accepted."""

KEYS_CACHED: Final = 10_000


class KeyCache:
    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def principal(self, key: str) -> Principal | None:
        now, digest = self._clock(), hash_key(key)
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        found = await authenticate(self._pool, key)
        if found is not None:
            self._known[digest] = (now + KEY_CACHE_S, found)
            self._known.move_to_end(digest)
            if len(self._known) > KEYS_CACHED:
                self._known.popitem(last=False)
        return found
