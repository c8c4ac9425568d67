"""The time of the twins."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Stands still at the time of its creation, until a test advances it."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self._advanced_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._advanced_s)

    def monotonic(self) -> float:
        """Seconds since the creation."""
        return self._advanced_s

    def advance(self, seconds: float) -> None:
        self._advanced_s += seconds
