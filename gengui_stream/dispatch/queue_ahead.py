"""How many attempts of a model may wait at a provider with a queue of its own, which serves them as they came.

Further ones stay jobs, which are claimed by fair share: so another user's first generation waits behind few."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import Provider

RATE_OVER_S: Final = 1.0
RATE_OVER_POLLS: Final = 2.5
"""A provider that starts attempts quickly gets those of its next second ahead, or until its next polls, so that no
worker of it waits."""

ANSWERED_WITHIN_S: Final = 0.5
"""The claims of all providers wait for the answer of one."""

UNKNOWN_FOR_S: Final = 5.0
REMEMBERED_MAX: Final = 1_000

ProviderModel: TypeAlias = tuple[str, str]
"""A provider and a model: some workers take jobs of some models alone, so no model waits behind another."""


@dataclass(slots=True)
class _Known:
    """`room`: attempts that may be claimed before the next poll of the provider. `taken`: times and numbers of the last
    claims."""

    room: int = 0
    poll_at: float = 0.0
    taken: "deque[tuple[float, int]]" = field(default_factory=deque)


class QueueAhead:
    """The queues at the providers, as far as this process knows them. Several dispatchers each fill the room that they
    see, so that a queue may be longer by some."""

    def __init__(self, providers: Mapping[str, Provider], clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = providers
        self._clock = clock
        self._known: OrderedDict[ProviderModel, _Known] = OrderedDict()
        self._full: set[ProviderModel] = set()

    def begin(self) -> None:
        """Before the claims of a round: forgets which providers were full in the last one."""
        self._full.clear()

    def is_limited(self, provider: str) -> bool:
        found = self._providers.get(provider)
        return found is not None and found.call_policy.queue_ahead is not None

    async def room(self, queue: ProviderModel, in_progress: int) -> int:
        """How many attempts may be claimed now, for a provider that is limited. `in_progress`: those claimed for it
        whose call has not ended, which it may not have yet."""
        known = self._of(queue)
        if known.room <= 0 and known.poll_at <= self._clock():
            known.room = await self._poll(queue, known, in_progress)
        if known.room <= 0:
            self._full.add(queue)
        return max(0, known.room)

    def took(self, queue: ProviderModel, number: int) -> None:
        """The claims of these many attempts."""
        known = self._of(queue)
        known.room -= number
        known.taken.append((self._clock(), number))

    def _of(self, queue: ProviderModel) -> _Known:
        known = self._known.setdefault(queue, _Known())
        self._known.move_to_end(queue)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    def next_poll_s(self) -> float | None:
        """Seconds until the next poll of a provider that was full in this round; None if none was."""
        polls = [self._of(queue).poll_at for queue in self._full]
        return max(0.0, min(polls) - self._clock()) if polls else None

    async def _poll(self, queue: ProviderModel, known: _Known, in_progress: int) -> int:
        provider = self._providers[queue[0]]
        policy = provider.call_policy
        ahead = max(policy.queue_ahead or 0, self._rate(known, policy.queue_poll_interval_s))
        waiting = await self._waiting(provider, queue[1], ahead)
        known.poll_at = self._clock() + (UNKNOWN_FOR_S if waiting is None else policy.queue_poll_interval_s)
        return ahead - in_progress - (waiting or 0)

    def _rate(self, known: _Known, poll_interval_s: float) -> int:
        over_s = max(RATE_OVER_S, RATE_OVER_POLLS * poll_interval_s)
        while known.taken and known.taken[0][0] < self._clock() - over_s:
            known.taken.popleft()
        return sum(number for _, number in known.taken)

    async def _waiting(self, provider: Provider, model: str, most: int) -> int | None:
        """None when the provider does not report it in time: what its policy has ahead is then claimed now and then."""
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return await provider.waiting(model, most)
        except (TransientError, TimeoutError):
            return None
