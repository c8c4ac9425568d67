"""Positions and vectors of positions as clients send them: in `Min-Position`, `Last-Event-ID` and cursors."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.log.positions import Position, format_vector, parse_vector

numbers = st.integers(0, 10**18 - 1)
vectors = st.dictionaries(numbers, numbers, max_size=20)


@given(numbers, numbers)
def test_a_position_is_read_as_it_was_written(partition: int, offset: int) -> None:
    position = Position(partition, offset)
    assert Position.parse(str(position)) == position
    assert str(position) == f"{partition}:{offset}"


@given(vectors)
def test_a_vector_is_read_as_it_was_written(offsets: dict[int, int]) -> None:
    assert parse_vector(format_vector(offsets)) == offsets


@given(vectors, st.randoms(use_true_random=False))
def test_a_vector_has_one_form(offsets: dict[int, int], source: Random) -> None:
    shuffled = list(offsets.items())
    source.shuffle(shuffled)
    assert format_vector(dict(shuffled)) == format_vector(offsets)


def test_partitions_are_in_the_order_of_their_numbers() -> None:
    assert format_vector({10: 1, 9: 2, 0: 3}) == "0:3,9:2,10:1"
    assert format_vector({}) == ""


RUBBISH = (
    *(
        "",
        ":",
        "1",
        "1:",
        ":1",
        "1:2:3",
        "-1:2",
        "1:-2",
        "+1:2",
        "1 :2",
        " 1:2",
        "1:2 ",
        "1:2\n",
        "1.0:2",
        "a:b",
        "0x1:2",
    ),
    *("0x1:2", "1_0:2", "\u0661:2", "\u00b2:1", "1:" + "9" * 19, "9" * 5_000 + ":1", "1;2", "0:1,", "\x00:1"),
)


@pytest.mark.parametrize("text", RUBBISH, ids=lambda text: ascii(text[:20]))
def test_anything_else_is_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(ValueError, match="a position is <partition>:<offset>") as refusal:
        Position.parse(text)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("text", [",", "0:1,", ",0:1", "0:1,,1:2", "0:1, 1:2", "0:1;1:2", "0:1,x"])
def test_a_broken_vector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a position is"):
        parse_vector(text)


@pytest.mark.parametrize("text", ["0:1,0:2", "0:1,1:1,0:1", "0:1,00:2"])
def test_a_partition_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="each partition once"):
        parse_vector(text)


@given(st.text(st.sampled_from("0123456789:,- x"), max_size=20))
def test_what_is_taken_means_what_it_says(text: str) -> None:
    try:
        offsets = parse_vector(text)
    except ValueError:
        return
    parts = text.split(",") if text else []
    assert offsets == {int(p): int(o) for p, o in (part.split(":") for part in parts)}


def test_positions_of_a_partition_sort_by_offset() -> None:
    assert sorted([Position(0, 10), Position(0, 9), Position(1, 0)]) == [
        Position(0, 9),
        Position(0, 10),
        Position(1, 0),
    ]
