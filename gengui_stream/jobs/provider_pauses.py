"""The pauses that providers ask for, shared by all dispatch processes: the others make no call to learn of one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.providers.routing.decision import ProviderPause

HOLD: Final = """
INSERT INTO jobs.provider_pauses AS p (provider, model, until, reason) VALUES ($1, $2, now() + $3::interval, $4)
ON CONFLICT (provider, model) DO UPDATE SET until = EXCLUDED.until, reason = EXCLUDED.reason
WHERE p.until < EXCLUDED.until
"""

CURRENT: Final = """
SELECT provider, model, extract(epoch FROM until - now())::float8 AS seconds, reason
FROM jobs.provider_pauses WHERE until > now()
"""


class ProviderPauses(Protocol):
    """Every method raises TransientError while the table is unavailable."""

    async def hold(self, pause: ProviderPause) -> None:
        """Has no effect while a longer pause is known."""
        ...

    async def current(self) -> Sequence[ProviderPause]:
        """Those that have not ended."""
        ...


class PostgresProviderPauses:
    """The table `jobs.provider_pauses`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hold(self, pause: ProviderPause) -> None:
        with transient_errors():
            seconds = timedelta(seconds=pause.seconds)
            await self._pool.execute(HOLD, pause.provider, pause.model, seconds, pause.reason)

    async def current(self) -> Sequence[ProviderPause]:
        with transient_errors():
            return [ProviderPause(**row) for row in await self._pool.fetch(CURRENT)]
