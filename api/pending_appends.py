"""Commands on their way through the log: each is appended once, however often it is repeated meanwhile."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.log.event_log import Appender
from gengui_stream.log.positions import Position
from schemas.events import Event

REMEMBERED_S: Final = 60.0
"""After that a repeated command that the projections still lack is appended again, which the fold ignores."""

_Key: TypeAlias = tuple[UUID, str]


@dataclass(slots=True)
class _Pending:
    begun_at: float
    appending: asyncio.Lock = field(default_factory=asyncio.Lock)
    position: Position | None = None


class PendingAppends:
    """By generation and type of event. Of this process alone: another one may append the same command again."""

    def __init__(self, log: Appender, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._pending: OrderedDict[_Key, _Pending] = OrderedDict()

    async def append(self, events: Sequence[Event]) -> Position:
        """The position of the last of these events of one generation, or of the same command before."""
        pending = self._of((events[-1].generation_id, events[-1].type))
        async with pending.appending:
            if pending.position is None:
                pending.position = (await self._log.append_many(events))[-1]
            return pending.position

    def _of(self, key: _Key) -> _Pending:
        now = self._clock()
        while self._pending and next(iter(self._pending.values())).begun_at <= now - REMEMBERED_S:
            self._pending.popitem(last=False)
        return self._pending.setdefault(key, _Pending(now))
