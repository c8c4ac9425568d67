"""Liveness of a process is progress: its event loop ticks once a second, and the work that it has begun gets done. A
process without progress must be restarted."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

TICK_EVERY_S: Final = 1.0
STALLED_AFTER_S: Final = 10.0
WORK_STALLED_AFTER_S: Final = 300.0
"""Work waits for a server that is unavailable. A process that started again meanwhile waits as `starting`."""

Status: TypeAlias = Literal["starting", "alive", "stalled"]
"""`starting`: it is waiting for an unavailable server, which is not a fault of the process."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """`tick_age_s`: seconds since the event loop last ticked. `work_age_s`: seconds for which the oldest piece of work
    has been in progress; 0 without any, and in roles that do not measure it."""

    status: Status
    tick_age_s: float
    work_age_s: float = 0.0

    @property
    def live(self) -> bool:
        return self.status != "stalled"

    @property
    def ready(self) -> bool:
        return self.status == "alive"

    def document(self) -> dict[str, object]:
        work = {"work_age_s": round(self.work_age_s, 1)} if self.work_age_s else {}
        return {"status": self.status, "tick_age_s": round(self.tick_age_s, 1), **work}


class Health:
    """The health of this process. Written by the event loop, read by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked_at = clock()
        self._started = False
        self._work_age: Callable[[], float] = lambda: 0.0

    def watch(self, work_age_s: Callable[[], float]) -> None:
        """`work_age_s`: seconds for which the oldest piece of work has been in progress. Called from any thread."""
        self._work_age = work_age_s

    def tick(self) -> None:
        self._ticked_at = self._clock()

    def starting(self) -> None:
        self._started = False

    def started(self) -> None:
        """Call it once every server that the role needs is available."""
        self._started = True

    def liveness(self) -> Liveness:
        age_s, work_s = self._clock() - self._ticked_at, self._work_age()
        if age_s > STALLED_AFTER_S or work_s > WORK_STALLED_AFTER_S:
            return Liveness("stalled", age_s, work_s)
        return Liveness("alive" if self._started else "starting", age_s, work_s)


@contextmanager
def ticking(health: Health) -> Iterator[None]:
    """Ticks on the running loop until the context ends. A timer of the loop, since a task could be cancelled by
    mistake."""
    loop = asyncio.get_running_loop()
    timer: asyncio.Handle

    def tick() -> None:
        nonlocal timer
        health.tick()
        timer = loop.call_later(TICK_EVERY_S, tick)

    timer = loop.call_soon(tick)
    try:
        yield
    finally:
        timer.cancel()
