"""How many of something each user has open in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID


class OpenCounts:
    """Has no entry for a user with none."""

    def __init__(self) -> None:
        self._open: Counter[UUID] = Counter()

    def of(self, user_id: UUID) -> int:
        return self._open[user_id]

    @contextmanager
    def one_more(self, user_id: UUID) -> Iterator[None]:
        """Open for as long as the block runs."""
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
