"""The page of `make bench` and its statistics, without measuring."""

import random
from math import log
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.memory import sizes
from tests.bench.report.page import INTRODUCTION, replaced, sections
from tests.bench.report.quantiles import median_interval, quantile

ORDER = ("One", "Two", "Three")
TEXTS = st.sampled_from(
    ["", "a line", "| a | table |\n|---|---|\n| 1 | 2 |", "### Below\n\nmore", "a ## inside a line"]
)
MEASURED = st.dictionaries(st.sampled_from(ORDER), TEXTS)


def test_a_section_takes_the_place_of_its_earlier_self_and_leaves_the_others() -> None:
    before = replaced("", {"One": "first", "Two": "second"}, ORDER)
    assert sections(replaced(before, {"Two": "new"}, ORDER)) == {"One": "first", "Two": "new"}


def test_sections_stand_in_their_order_whichever_was_measured_first() -> None:
    page = replaced(replaced("", {"Three": "3"}, ORDER), {"One": "1"}, ORDER)
    assert page == f"{INTRODUCTION.strip()}\n\n## One\n\n1\n\n## Three\n\n3\n"


def test_the_introduction_is_always_the_present_one() -> None:
    assert replaced("# Old\n\nold words\n\n## One\n\n1\n", {}, ORDER).startswith(INTRODUCTION)


def test_a_section_without_a_measurement_is_kept_at_the_end() -> None:
    page = "## By hand\n\nkept\n\n## One\n\n1\n"
    assert list(sections(replaced(page, {"Two": "2"}, ORDER)).items()) == [
        ("One", "1"),
        ("Two", "2"),
        ("By hand", "kept"),
    ]


@given(MEASURED, MEASURED)
def test_writing_again_changes_nothing(first: dict[str, str], second: dict[str, str]) -> None:
    page = replaced(replaced("", first, ORDER), second, ORDER)
    assert replaced(page, second, ORDER) == page
    assert sections(page) == {
        heading: {**first, **second}[heading] for heading in ORDER if heading in {**first, **second}
    }


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert quantile([4, 2, 1, 3], share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_at_least_the_share_is_not_above_its_quantile(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_growth_is_distinguished_from_warming_up() -> None:
    seconds = [float(second) for second in range(600)]
    warmed = sizes([80.0], seconds, [min(100.0, 80.0 + second) for second in seconds])
    growing = sizes([80.0], seconds, [80.0 + second / 60 for second in seconds])
    assert (warmed.late, round(warmed.slope, 6)) == (100.0, 0.0)
    assert (round(growing.slope, 6), round(growing.middle), round(growing.late)) == (1.0, 85, 89)


def test_the_interval_of_a_median_contains_that_of_the_population_in_about_95_of_100_samples() -> None:
    chance = random.Random(1)
    intervals = [median_interval([chance.expovariate(log(2)) for _ in range(100)]) for _ in range(1_000)]
    assert 930 <= sum(low <= 1.0 <= high for low, high in intervals) <= 980


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_the_interval_of_a_median_contains_the_median_of_the_sample(values: list[float]) -> None:
    low, high = median_interval(values)
    assert low <= median(values) <= high
