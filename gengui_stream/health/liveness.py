"""Liveness of a process: its event loop ticks once a second, and a process whose ticks stop must be restarted."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

TICK_EVERY_S: Final = 1.0
STALLED_AFTER_S: Final = 10.0

Status: TypeAlias = Literal["starting", "alive", "stalled"]
"""`starting`: it is waiting for an unavailable server, which is not a fault of the process."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """`tick_age_s`: seconds since the event loop last ticked."""

    status: Status
    tick_age_s: float

    @property
    def live(self) -> bool:
        return self.status != "stalled"

    def document(self) -> dict[str, object]:
        return {"status": self.status, "tick_age_s": round(self.tick_age_s, 1)}


class Health:
    """The health of this process. Written by the event loop, read by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked_at = clock()
        self._started = False

    def tick(self) -> None:
        self._ticked_at = self._clock()

    def starting(self) -> None:
        self._started = False

    def started(self) -> None:
        """Call it once every server that the role needs is available."""
        self._started = True

    def liveness(self) -> Liveness:
        age_s = self._clock() - self._ticked_at
        if age_s > STALLED_AFTER_S:
            return Liveness("stalled", age_s)
        return Liveness("alive" if self._started else "starting", age_s)


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
