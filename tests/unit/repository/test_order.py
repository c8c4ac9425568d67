"""Long tests begin early in every process."""

from collections.abc import Sequence
from itertools import product, takewhile

from tests.order import begun_early


def test_each_part_begins_with_its_long_tests() -> None:
    for long, others, processes in product(range(7), range(0, 60, 7), (1, 2, 4)):
        given = [-1 - each for each in range(long)]
        ordered = begun_early(given, range(others), processes)
        assert sorted(ordered) == sorted([*given, *range(others)])
        assert [each for each in ordered if each >= 0] == list(range(others))
        if others >= processes * long:
            assert beginnings(ordered, processes) == [given[process::processes] for process in range(processes)]


def beginnings(ordered: Sequence[int], processes: int) -> list[list[int]]:
    """The long tests at the beginning of the part of each process."""
    found, at = list[list[int]](), 0
    for left in range(processes, 0, -1):
        size = (len(ordered) - at) // left
        found.append(list(takewhile(lambda each: each < 0, ordered[at : at + size])))
        at += size
    return found
