"""How many requests of one user wait for the projections at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from api.limits.open_counts import OpenCounts

WAITS_MAX: Final = 32
"""A waiting request reads a few rows from time to time, so a flood of them must not take the pool from other users."""


class WaitLimit:
    """Counts the waiting requests of each user in this process."""

    def __init__(self) -> None:
        self._waiting = OpenCounts()

    @contextmanager
    def admitted(self, owner_id: UUID) -> Iterator[bool]:
        """Whether the request may wait: false for one beyond WAITS_MAX, which answers by what it reads first."""
        if self._waiting.of(owner_id) >= WAITS_MAX:
            yield False
            return
        with self._waiting.one_more(owner_id):
            yield True
