"""Waiting and stopping: a role waits for unavailable servers, and ends at a shutdown. Otherwise it is crash-only."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from gengui_stream.errors import BugError, TransientError
from gengui_stream.process.waits import current_waits

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

LONG_WAIT_S: Final = 60.0
"""After which a wait is logged as an error."""
LOG_EVERY_S: Final = 300.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class ShutdownRequested(Exception):
    """The shutdown came during a wait."""


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Waits for `seconds`, or until `stop` is set. Returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class RetryLimit:
    """For an operation that can fail although its server is available. `reach` raises TransientError while it is not:
    an outage of any length is waited for, and only failures in a row while the server answers count."""

    seconds: float
    reach: Callable[[], Awaitable[object]]


async def retry_transient(
    attempt: Callable[[], Awaitable[T]],
    stop: asyncio.Event,
    *,
    operation: str,
    limit: RetryLimit | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Calls `attempt` until it raises no TransientError, with growing, jittered pauses. Raises ShutdownRequested when
    `stop` is set meanwhile, and BugError at the limit. `operation`: the name of the call in the log.

    Most operations have no limit: they wait for a server, and an end of the process would not make it available.
    """
    seconds, failures = FIRST_PAUSE_S, _Failures(operation, limit, clock)
    try:
        while True:
            try:
                return await attempt()
            except TransientError as error:
                await failures.add(error)
            if await pause(stop, seconds * random.uniform(0.5, 1.0)):
                raise ShutdownRequested(operation)
            seconds = min(seconds * 2, LONGEST_PAUSE_S)
    finally:
        failures.end()


class _Failures:
    """The failures of one operation: each doubling of the time is logged, `/readyz` reports them, and the limit is
    checked."""

    def __init__(self, operation: str, limit: RetryLimit | None, clock: Callable[[], float]) -> None:
        self._operation = operation
        self._limit = limit
        self._clock = clock
        self._began = clock()
        self._log_at = 0.0
        self._answered_since: float | None = None
        self._waits = current_waits.get()

    def end(self) -> None:
        if self._waits is not None:
            self._waits.ended(self)

    async def add(self, error: TransientError) -> None:
        if self._waits is not None:
            self._waits.failed(self, self._operation, error)
        waited = self._clock() - self._began
        if waited >= self._log_at:
            self._log_at = min(max(2 * waited, 1.0), waited + LOG_EVERY_S)
            write = _log.error if waited >= LONG_WAIT_S else _log.warning
            write("waiting", operation=self._operation, error=str(error), waited_s=round(waited, 1))
        if self._limit is not None and await self._answered_for(self._limit) > self._limit.seconds:
            failed = f"{self._operation} has failed for {self._limit.seconds:g} s while the server answered"
            raise BugError(f"{failed}: {error}") from error

    async def _answered_for(self, limit: RetryLimit) -> float:
        """Seconds since the first of the latest failures for which the server was available."""
        try:
            await limit.reach()
        except TransientError:
            self._answered_since = None
            return 0.0
        now = self._clock()
        if self._answered_since is None:
            self._answered_since = now
        return now - self._answered_since
