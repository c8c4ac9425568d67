"""Claims of workers over HTTP that wait for a job. They are served in their order by one task: each new entry costs one
script on Redis for each claim that it serves, and nothing for the others."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import pause
from gengui_stream.providers.local.leases import JobLeases, LeasedEntry
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.redis_io.streams import StreamWatcher
from gengui_stream.settings import Settings

TICK_S: Final = 1.0
"""The longest delay until a job is queued again whose lease has ended by its time."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Waiter:
    models: frozenset[str]
    lease_s: float
    worker: str
    key: str
    until: float
    entry: "asyncio.Future[LeasedEntry | None]"


class JobClaims:
    """The waiting claims of one process."""

    def __init__(self, settings: Settings, leases: JobLeases) -> None:
        self._settings = settings
        self._leases = leases
        self._waiting: deque[_Waiter] = deque()
        self._unwanted: deque[LeasedEntry] = deque()
        self._changed = asyncio.Event()
        self._closing = False

    async def next(
        self, models: frozenset[str], *, lease_s: float, wait_s: float, worker: str = "", key: str = ""
    ) -> LeasedEntry | None:
        """The oldest entry of these models, or of any, as soon as there is one; None after `wait_s`, and when the
        process stops. `key`: the id of the API key that the lease is bound to. Raises TransientError while Redis is
        unavailable."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(models, lease_s, worker, key, loop.time() + wait_s, loop.create_future())
        if self._closing:
            return None
        self._waiting.append(waiter)
        self._changed.set()
        timer = loop.call_at(waiter.until, self._changed.set)
        try:
            return await asyncio.shield(waiter.entry)
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends the waiting claims without a job."""
        self._closing = True
        self._settle(None)

    async def run(self) -> None:
        """Serves the claims, without end."""
        async with background_task(self._watch):
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self._serve()
                except TransientError as error:
                    self._settle(error)

    async def _watch(self, ended: asyncio.Event) -> None:
        failures = 0
        async with StreamWatcher(self._settings, QUEUE_STREAM, longest_wait_s=TICK_S) as queue:
            while not ended.is_set():
                try:
                    await queue.wait()
                    await self._leases.requeue_expired()
                    failures = 0
                except TransientError as error:
                    failures += 1
                    _log.warning("queue_not_watched", error=str(error), failures=failures)
                    await pause(ended, backoff_seconds(failures, base=0.1, ceiling=2.0))
                self._changed.set()

    async def _serve(self) -> None:
        while self._unwanted:
            await self._give_back(self._unwanted.popleft())
        none_left: set[frozenset[str]] = set()
        for waiter in list(self._waiting):
            if waiter.models not in none_left and not waiter.entry.done():
                entry = await self._claim(waiter)
                if entry is None:
                    none_left.add(waiter.models)
                elif waiter.entry.done():  # its client has left, or the process stops
                    await self._give_back(entry)
                else:
                    self._waiting.remove(waiter)
                    waiter.entry.set_result(entry)
            self._expire(waiter)

    async def _claim(self, waiter: _Waiter) -> LeasedEntry | None:
        return await self._leases.claim(waiter.models, new_id().hex, waiter.lease_s, waiter.worker, waiter.key)

    def _expire(self, waiter: _Waiter) -> None:
        if not waiter.entry.done() and waiter.until <= asyncio.get_running_loop().time():
            self._waiting.remove(waiter)
            waiter.entry.set_result(None)

    async def _give_back(self, entry: LeasedEntry) -> None:
        if entry.generation_id is not None:
            await self._leases.release(entry.generation_id, entry.lease)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if not waiter.entry.done():
            waiter.entry.set_result(None)
        elif not waiter.entry.exception() and (entry := waiter.entry.result()) is not None:
            self._unwanted.append(entry)
            self._changed.set()

    def _settle(self, outcome: TransientError | None) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if outcome is None:
                waiter.entry.set_result(None)
            else:
                waiter.entry.set_exception(outcome)
