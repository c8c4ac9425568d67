"""The operations that a process repeats until a server is available again, has memory or disk space again: its role
reports them at `/readyz`."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

SHOWN_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Wait:
    """`since`: when the first of the failures in a row happened, on the clock of `Waits`. `error`: the last one."""

    operation: str
    error: str
    since: float


class Waits:
    """Written by the event loop, read by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waits: dict[int, Wait] = {}
        self._counted: Callable[[str], None] = lambda operation: None

    def count(self, counted: Callable[[str], None]) -> None:
        """`counted` is called with the operation at each failure."""
        self._counted = counted

    def failed(self, token: object, operation: str, error: Exception) -> None:
        """`token`: what fails again and again, until `ended`."""
        earlier = self._waits.get(id(token))
        since = self._clock() if earlier is None else earlier.since
        self._waits[id(token)] = Wait(operation, str(error)[:SHOWN_MAX], since)
        self._counted(operation)

    def ended(self, token: object) -> None:
        self._waits.pop(id(token), None)

    def oldest(self) -> list[Wait]:
        """The oldest of each operation."""
        found: dict[str, Wait] = {}
        for wait in sorted(self._waits.values(), key=lambda wait: wait.since):
            found.setdefault(wait.operation, wait)
        return list(found.values())


current_waits: ContextVar[Waits | None] = ContextVar("current_waits", default=None)
"""Set for the tasks of a role: operations are repeated far below the role, which alone has a health."""
