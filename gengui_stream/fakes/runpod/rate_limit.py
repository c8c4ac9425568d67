"""How many requests an endpoint takes in ten seconds."""

from collections import defaultdict, deque
from typing import Final

WINDOW_S: Final = 10.0


class Pacing:
    """A sliding window for each key."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)

    def takes(self, key: str, limit: int, now: float) -> bool:
        """Whether one more is within the limit; counted if so."""
        taken = self._taken[key]
        while taken and taken[0] <= now - WINDOW_S:
            taken.popleft()
        if len(taken) >= limit:
            return False
        taken.append(now)
        return True
