"""Claims dispatch jobs, each with a slot of the provider that would take it, so that its call can start at once."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from gengui_stream.dispatch.call_limiter import CallLimiter
from gengui_stream.dispatch.queue_ahead import QueueAhead
from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.loop import POLL_S
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.providers.routing.decision import Opening

SOON_S: Final = 0.02


class DispatchSlots:
    """`_slots`: the provider by the key of each claimed job."""

    def __init__(self, queue: JobQueue, context: JobContext, calls: CallLimiter) -> None:
        self._queue = queue
        self._context = context
        self._calls = calls
        self._ahead = QueueAhead(context.providers)
        self._slots: dict[str, str] = {}

    async def claim(self, limit: int) -> list[ClaimedJob]:
        """Of each provider's queues together as many jobs as it has free slots, and room in a queue of its own."""
        for known in await self._context.pauses.current():
            self._context.router.keep(known)
        self._ahead.begin()
        claimed: list[ClaimedJob] = []
        for opening, queues in self._openings(await self._queue.queues()):
            jobs = await self._claim(opening, queues, limit - len(claimed))
            for job in jobs:
                if self._calls.try_acquire(opening.provider):
                    self._slots[job.key] = opening.provider
            claimed += jobs
        return claimed

    async def _claim(self, opening: Opening, queues: Sequence[ProviderPreference], limit: int) -> Sequence[ClaimedJob]:
        provider = opening.provider
        most = min(limit, self._calls.free(provider), opening.calls or limit)
        if most <= 0:
            return []
        if not self._ahead.is_limited(provider):
            return await self._queue.claim(most, queues)
        queue = (provider, queues[0].model)
        room = await self._ahead.room(queue, self._calls.in_progress(provider))
        jobs = await self._queue.claim(min(most, room), queues) if room > 0 else []
        if jobs:
            self._ahead.took(queue, len(jobs))
        return jobs

    def poll_s(self) -> float:
        """Until the next claim: soon while a provider's own queue is full, which sends no notification."""
        seconds = self._ahead.next_poll_s()
        return POLL_S if seconds is None else max(SOON_S, min(seconds, POLL_S))

    def _openings(self, queues: Sequence[ProviderPreference]) -> Sequence[tuple[Opening, Sequence[ProviderPreference]]]:
        """The queues of each provider that would take them together, and by model where its own queue is limited."""
        found: defaultdict[tuple[Opening, str], list[ProviderPreference]] = defaultdict(list)
        for queue in queues:
            if (opening := self._context.router.opening(queue)) is not None:
                model = queue.model if self._ahead.is_limited(opening.provider) else ""
                found[opening, model].append(queue)
        return [(opening, together) for (opening, _), together in found.items()]

    def free(self, key: str) -> None:
        provider = self._slots.pop(key, None)
        if provider is not None:
            self._calls.release(provider)

    def has(self, key: str, provider: str) -> bool:
        """Whether the job has a slot of that provider; tries to get one in place of another provider's."""
        if self._slots.get(key) != provider:
            self.free(key)
            if not self._calls.try_acquire(provider):
                return False
            self._slots[key] = provider
        return True
