"""How many requests of one user wait for the projections at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

WAITS_MAX: Final = 32
"""A waiting request reads a few rows from time to time, so a flood of them must not take the pool from other users."""


class WaitLimit:
    """Counts the waiting requests of each user in this process."""

    def __init__(self) -> None:
        self._waiting: Counter[UUID] = Counter()

    @contextmanager
    def admitted(self, owner_id: UUID) -> Iterator[bool]:
        """Whether the request may wait: false for one beyond WAITS_MAX, which answers by what it reads first."""
        if self._waiting[owner_id] >= WAITS_MAX:
            yield False
            return
        self._waiting[owner_id] += 1
        try:
            yield True
        finally:
            self._waiting[owner_id] -= 1
            if not self._waiting[owner_id]:
                del self._waiting[owner_id]
