"""The first gap in offsets."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.log.gaps import first_gap


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
