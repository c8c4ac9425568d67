"""Whether a projection stands still: it is behind the log, and its checkpoint has not moved for some time. Pure but for
the clock."""

import time
from collections.abc import Callable, Mapping
from typing import Final

STANDS_STILL_S: Final = 30.0
"""Longer than a takeover by another process."""


class StandstillDetector:
    """Compares what it is shown with what it was shown before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._behind: dict[int, tuple[int, float]] = {}

    def observe(self, ends: Mapping[int, int], projected: Mapping[int, int]) -> dict[int, float]:
        """The partitions that stand still, and for how many seconds. `ends`: the next offsets of the log; `projected`:
        the checkpoints."""
        now = self._clock()
        behind = {
            partition: projected.get(partition, 0)
            for partition, end in ends.items()
            if projected.get(partition, 0) < end
        }
        self._behind = {
            partition: self._behind[partition] if self._behind.get(partition, (-1, 0.0))[0] == offset else (offset, now)
            for partition, offset in behind.items()
        }
        return {
            partition: now - since for partition, (_, since) in self._behind.items() if now - since >= STANDS_STILL_S
        }
