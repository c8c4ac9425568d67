"""The nearest shape that Gemini supports, against a plain search."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.providers.gemini.image_config import ASPECT_RATIOS, SIZES, nearest
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP

SIDES = st.integers(SIZE_MIN // SIZE_STEP, SIZE_MAX // SIZE_STEP).map(lambda steps: steps * SIZE_STEP)


def factor(one: Fraction, other: Fraction) -> Fraction:
    """The ratio of the larger to the smaller."""
    return max(one / other, other / one)


def ratio(name: str) -> Fraction:
    return Fraction(*map(int, name.split(":")))


@given(SIDES, SIDES)
def test_no_other_shape_is_nearer(width: int, height: int) -> None:
    """By exact fractions: areas in place of sides, which are as near when their areas are."""
    found = nearest(width, height)
    wanted, area = Fraction(width, height), Fraction(width * height)
    off = {name: factor(wanted, ratio(name)) for name in ASPECT_RATIOS}
    assert off[found.aspect_ratio] == min(off.values())
    sizes = {name: factor(area, Fraction(side * side)) for name, side in SIZES.items()}
    assert sizes[found.image_size] == min(sizes.values())


@given(SIDES, SIDES)
def test_turned_it_is_turned(width: int, height: int) -> None:
    found, turned = nearest(width, height), nearest(height, width)
    assert found.image_size == turned.image_size
    if found.aspect_ratio != "21:9" and turned.aspect_ratio != "21:9":  # there is no 9:21
        assert ratio(found.aspect_ratio) == 1 / ratio(turned.aspect_ratio)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1024, 1024, ("1:1", "1K")),
        (512, 512, ("1:1", "1K")),
        (1344, 768, ("16:9", "1K")),
        (512, 768, ("2:3", "1K")),
        (2048, 2048, ("1:1", "2K")),
        (256, 2048, ("9:16", "1K")),
        (2048, 832, ("21:9", "1K")),
    ],
)
def test_known_shapes(width: int, height: int, expected: tuple[str, str]) -> None:
    found = nearest(width, height)
    assert (found.aspect_ratio, found.image_size) == expected
