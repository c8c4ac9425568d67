"""When each key was last used: collected in memory, and written once a minute, so that no request waits for it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, transient_errors

WRITTEN_EVERY_S: Final = 60.0
KEYS_MAX: Final = 10_000
"""Of those that are used within a minute, more are not recorded: their time is that of a later minute."""

LAST_WITHIN_S: Final = 2.0
"""For the last write of a process that ends."""

# In the order of the ids: processes that write at the same time lock the rows in the same order.
WRITE: Final = """
WITH used AS (
    SELECT k.key_id, greatest(k.last_used_at, u.at) AS at
    FROM unnest($1::text[], $2::timestamptz[]) AS u (key_id, at) JOIN accounts.api_keys k USING (key_id)
    ORDER BY k.key_id FOR NO KEY UPDATE OF k
)
UPDATE accounts.api_keys k SET last_used_at = used.at FROM used WHERE k.key_id = used.key_id
"""

_log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class KeyUsage:
    def __init__(self, pool: Pool, now: Callable[[], datetime] = _now) -> None:
        self._pool = pool
        self._now = now
        self._used: dict[str, datetime] = {}

    def used(self, key_id: str) -> None:
        if len(self._used) < KEYS_MAX or key_id in self._used:
            self._used[key_id] = self._now()

    async def write(self) -> None:
        """What was collected. Raises TransientError, and keeps it, when the server is unavailable."""
        if not (used := self._used):
            return
        self._used = {}
        try:
            with transient_errors():
                await self._pool.execute(WRITE, list(used), list(used.values()))
        except BaseException:
            self._used = {**used, **self._used}
            raise

    async def keep_writing(self) -> None:
        """Without end; the last time when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(WRITTEN_EVERY_S)
                try:
                    await self.write()
                except TransientError as error:
                    _log.warning("key_usage_not_written", error=str(error))
        finally:
            with suppress(TransientError, TimeoutError):
                async with asyncio.timeout(LAST_WITHIN_S):
                    await self.write()
