"""Python's garbage collector in long processes."""

import gc
from typing import Final

COLLECT_AFTER: Final = 500_000
"""Objects that were made and not freed."""


def collect_no_more() -> None:
    """Before a process ends: the interpreter would go through every object for garbage, for half a second of processor
    time."""
    gc.freeze()


def collect_seldom() -> None:
    """The fold creates no cycles, but thousands of objects a batch next to a cache of hundreds of thousands: with
    Python's default thresholds the collector traverses them again and again without finding any, for a fifth of the
    time."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
