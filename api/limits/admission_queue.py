"""One admission of a user at a time in this process: those of one user wait for one row, and would otherwise take the
whole pool from the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from gengui_stream.errors import TransientError
from gengui_stream.limits.admission import Admission

TURN_WITHIN_S: Final = 2.0
"""As long as a request waits for a connection. With the time limit of its own admission (REQUEST_WAITS) a request of a
silent PostgreSQL is answered within ten seconds; those of one user would otherwise wait one after the other."""


@dataclass(slots=True)
class _Queue:
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused_at: float = float("-inf")
    refusal: Admission | None = None


class AdmissionQueue:
    """Of each user with requests in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: dict[UUID, _Queue] = {}

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self._queues.values())

    async def admit(
        self, user_id: UUID, ask: Callable[[], Awaitable[Admission]], *, repeated: bool = False
    ) -> Admission:
        """The answer of `ask`, in turn; or the refusal of another request of the user that was asked for while this one
        waited, unless it may be `repeated`, and so admitted already. Raises TransientError without a turn within
        TURN_WITHIN_S."""
        came_at, queue = self._clock(), self._queues.setdefault(user_id, _Queue())
        queue.waiting += 1
        try:
            async with _turn(queue):
                if queue.refusal is not None and queue.refused_at > came_at and not repeated:
                    return queue.refusal
                asked_at, found = self._clock(), await ask()
                if found.refused_by is not None:
                    queue.refused_at, queue.refusal = asked_at, found
                return found
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[user_id]


@asynccontextmanager
async def _turn(queue: _Queue) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TURN_WITHIN_S):
            await queue.lock.acquire()
    except TimeoutError as error:
        detail = f"the generations that this user requested before are not admitted within {TURN_WITHIN_S:g} s"
        raise TransientError(detail) from error
    try:
        yield
    finally:
        queue.lock.release()
