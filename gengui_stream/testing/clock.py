"""The time of the twins."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's time, plus the seconds by which a test has advanced it."""

    def __init__(self) -> None:
        self._advanced_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._advanced_s)

    def monotonic(self) -> float:
        return time.monotonic() + self._advanced_s

    def advance(self, seconds: float) -> None:
        self._advanced_s += seconds
