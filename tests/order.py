"""The order in which the processes of a run take the tests."""

from collections.abc import Sequence
from itertools import islice
from typing import Final, TypeVar

LONG: Final = "long"
"""The marker of tests that take half a minute or more."""

T = TypeVar("T")


def begun_early(long: Sequence[T], others: Sequence[T], processes: int) -> list[T]:
    """Each process is given an equal part, in this order, and later takes tests of others from their ends: a long test
    is to be at the beginning of a part, or the other processes wait for it at the end of the run."""
    rest, ordered, left = iter(others), list[T](), len(long) + len(others)
    for process in range(processes):
        own = long[process::processes]
        size = left // (processes - process)  # as xdist's `worksteal` shares what is left
        left -= size
        ordered += [*own, *islice(rest, max(0, size - len(own)))]
    return [*ordered, *rest]
