"""The pauses of providers in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gengui_stream.providers.routing.decision import ProviderPause
from gengui_stream.testing.clock import Clock


class InMemoryProviderPauses:
    """Keeps the contract of `ProviderPauses`; shared by the processes of a system."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[tuple[str, str], tuple[datetime, str]] = {}

    async def hold(self, pause: ProviderPause) -> None:
        key = (pause.provider, pause.model)
        new = (self._clock.now() + timedelta(seconds=pause.seconds), pause.reason)
        known = self._pauses.get(key)
        self._pauses[key] = new if known is None or known[0] < new[0] else known

    async def current(self) -> Sequence[ProviderPause]:
        now = self._clock.now()
        return [
            ProviderPause(provider, model, (until - now).total_seconds(), reason)
            for (provider, model), (until, reason) in self._pauses.items()
            if until > now
        ]
