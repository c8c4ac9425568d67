"""Liveness of a process is progress: its event loop ticks once a second, and the work that it has begun gets done. A
process without progress must be restarted."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gengui_stream.process.waits import Waits

TICK_EVERY_S: Final = 1.0
STALLED_AFTER_S: Final = 10.0
UNREADY_AFTER_S: Final = 5.0
"""Above the pauses of one repeated operation: a server that was unavailable for a moment is no news."""

WORK_STALLED_AFTER_S: Final = 300.0
"""Work waits for a server that is unavailable. A process that started again meanwhile waits as `starting`."""

Status: TypeAlias = Literal["starting", "alive", "stalled"]
"""`starting`: it is waiting for an unavailable server, which is not a fault of the process."""


@dataclass(frozen=True, slots=True)
class Details:
    """What else a role says about its readiness. `document`: shown by `/readyz`."""

    ready: bool = True
    document: Mapping[str, object] = field(default_factory=dict)


NO_DETAILS: Final = Details()


@dataclass(frozen=True, slots=True)
class Liveness:
    """`tick_age_s`: seconds since the event loop last ticked. `work_age_s`: seconds for which the oldest piece of work
    has been in progress; 0 without any, and in roles that do not measure it. `waits`: operations that fail for a
    server's sake, by name: the seconds since the first failure, and the last error. `details`: of the role."""

    status: Status
    tick_age_s: float
    work_age_s: float = 0.0
    waits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    details: Details = NO_DETAILS

    @property
    def live(self) -> bool:
        return self.status != "stalled"

    @property
    def ready(self) -> bool:
        return self.status == "alive" and not self.waits and self.details.ready

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {"status": self.status, "tick_age_s": round(self.tick_age_s, 1)}
        if self.work_age_s:
            document["work_age_s"] = round(self.work_age_s, 1)
        return document

    def readiness_document(self) -> dict[str, object]:
        """Names servers, so that it is not for the API's public port."""
        waits = {name: {"seconds": round(seconds, 1), "error": error} for name, (seconds, error) in self.waits.items()}
        document = {**self.document(), **self.details.document}
        return {**document, "waits": waits} if waits else document


class Health:
    """The health of this process. Written by the event loop, read by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked_at = clock()
        self._started = False
        self._work_age: Callable[[], float] = lambda: 0.0
        self._details: Callable[[], Details] = lambda: NO_DETAILS
        self.waits = Waits(clock)

    def watch(self, work_age_s: Callable[[], float]) -> None:
        """`work_age_s`: seconds for which the oldest piece of work has been in progress. Called from any thread."""
        self._work_age = work_age_s

    def explain(self, details: Callable[[], Details]) -> None:
        """Called for each `/readyz`, from any thread."""
        self._details = details

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
            return Liveness("stalled", age_s, work_s, self._long_waits(), self._details())
        status: Status = "alive" if self._started else "starting"
        return Liveness(status, age_s, work_s, self._long_waits(), self._details())

    def _long_waits(self) -> Mapping[str, tuple[float, str]]:
        now = self._clock()
        waits = {wait.operation: (now - wait.since, wait.error) for wait in self.waits.oldest()}
        return {name: wait for name, wait in waits.items() if wait[0] >= UNREADY_AFTER_S}


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
