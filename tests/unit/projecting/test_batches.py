"""The records of one transaction: bounded by their number and by their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.projecting import batches
from gengui_stream.projecting.batches import bytes_of, fitting, sliced
from tests.events import FakeRecord


@dataclass(frozen=True, slots=True)
class Sizes:
    sizes: Sequence[int]

    def records(self) -> list[FakeRecord]:
        return [FakeRecord(offset, 0, b"", b"x" * size) for offset, size in enumerate(self.sizes)]


sizes = st.builds(Sizes, st.lists(st.integers(0, 30), max_size=30))


@given(sizes, st.integers(1, 10), st.integers(1, 40))
def test_as_many_fit_as_neither_limit_forbids_and_at_least_one(given: Sizes, most: int, bytes_most: int) -> None:
    records = given.records()
    number = fitting(records, most, bytes_most)
    allowed = [n for n in range(2, len(records) + 1) if n <= most and sum(given.sizes[:n]) <= bytes_most]
    assert number == (max(allowed, default=1) if records else 0)


@given(sizes, st.integers(1, 10), st.integers(1, 40))
def test_slices_keep_all_records_in_order_within_both_limits(given: Sizes, size: int, bytes_most: int) -> None:
    records = given.records()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BYTES_MAX", bytes_most)
        parts = list(sliced(records, size))
    assert [record for part in parts for record in part] == records
    for part in parts:
        assert len(part) == 1 or (len(part) <= size and sum(map(bytes_of, part)) <= bytes_most)
