"""The rate limit of an endpoint: requests in ten seconds."""

from collections import defaultdict, deque
from typing import Final

WINDOW_S: Final = 10.0


class RateLimit:
    """A sliding window per key."""

    def __init__(self) -> None:
        self._accepted: defaultdict[str, deque[float]] = defaultdict(deque)

    def accepts(self, key: str, limit: int, now: float) -> bool:
        """Whether one more request is within the limit; if so, it is counted."""
        accepted = self._accepted[key]
        while accepted and accepted[0] <= now - WINDOW_S:
            accepted.popleft()
        if len(accepted) >= limit:
            return False
        accepted.append(now)
        return True
