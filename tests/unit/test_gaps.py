"""A gap is read again for a while, and then believed."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.log.gaps import PATIENCE_S, Gaps, first_gap


@dataclass(frozen=True, slots=True)
class Record:
    offset: int


def at(*offsets: int) -> list[Record]:
    return [Record(offset) for offset in offsets]


@given(st.integers(0, 20), st.sets(st.integers(0, 40), min_size=1))
def test_what_comes_before_the_first_gap_is_whole(expected: int, offsets: set[int]) -> None:
    records = at(*sorted(offsets))
    end = first_gap(expected, records)
    places = [record.offset for record in records]
    if end is None:
        assert places == list(range(expected, expected + len(places)))
    else:
        assert places[:end] == list(range(expected, expected + end))
        assert places[end] != expected + end


def test_it_is_believed_once_it_lasts() -> None:
    gaps, records = Gaps(), at(3, 4, 6)
    assert gaps.unbroken(0, 3, records, 100) == at(3, 4)
    assert gaps.unbroken(0, 5, at(6, 7), 100 + PATIENCE_S) == []
    assert gaps.unbroken(0, 5, at(6, 7), 100.1 + PATIENCE_S) == at(6, 7)


def test_another_one_has_its_own_time() -> None:
    gaps = Gaps()
    assert gaps.unbroken(0, 3, at(4), 100) == []
    assert gaps.unbroken(1, 3, at(4), 200) == []
    assert gaps.unbroken(0, 5, at(6), 200) == []
    assert gaps.unbroken(0, 5, at(5, 6), 201) == at(5, 6)
    assert gaps.unbroken(0, 7, at(8), 300) == []


def test_a_log_that_begins_anew_is_nothing_to_wait_for() -> None:
    """Its records are passed on as they are: whoever reads them sees that they are not what was expected."""
    assert Gaps().unbroken(0, 1000, at(0, 1), 100) == at(0, 1)
