"""The list of prices: how it is written, which price holds, and what a use costs."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.domain.prices import PriceList, Unit, parse_prices

DAY = date(2026, 11, 30)

AMOUNTS = st.decimals(min_value=0, max_value=999, places=6, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "model", "run_ms", "images", "cost"),
    [
        ("runpod/zit-basic=0.0005/second", "zit-basic", 2_000, 4, "0.001"),
        ("runpod/*=0.04/image", "zit-basic", 2_000, 3, "0.12"),
        ("runpod/zit-basic=0.5/second,runpod/*=0.25/second", "zit-basic", 1_000, 0, "0.5"),
        ("runpod/zit-basic=0.5/second,runpod/*=0.25/second", "another", 1_000, 0, "0.25"),
        ("runpod/zit-basic=1/second,runpod/zit-basic=2/image", "zit-basic", 500, 2, "4.5"),
        ("runpod/zit-basic=1/second,runpod/*=2/image", "zit-basic", 1_000, 1, "3"),
        ("runpod/m@2026-11-30=2/second,runpod/m=1/second", "m", 1_000, 0, "2"),
        ("runpod/m@2026-12-01=2/second,runpod/m=1/second", "m", 1_000, 0, "1"),
        ("runpod/m@2026-12-01=2/second,runpod/*=1/second", "m", 1_000, 0, "1"),
        ("runpod/m=0/second", "m", 1_000, 1, "0"),
        ("gemini/*=1/second", "m", 1_000, 1, None),
        ("runpod/m@2026-12-01=2/second", "m", 1_000, 1, None),
        ("", "m", 1_000, 1, None),
    ],
)
def test_the_cost_of_a_use(text: str, model: str, run_ms: int, images: int, cost: str | None) -> None:
    found = parse_prices(text).cost("runpod", model, DAY, run_ms=run_ms, images=images)
    assert found == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    "text",
    [
        "runpod",
        "runpod=1/second",
        "runpod/m=1",
        "runpod/m=1/minute",
        "runpod/m=-1/second",
        "runpod/m=1e3/second",
        "runpod/m=.5/second",
        "runpod/m=1,5/second",
        "runpod/m@yesterday=1/second",
        "runpod/ m=1/second",
        "runpod/m=1/second, runpod/n=1/second",
        "runpod/m=٣/second",
    ],
)
def test_what_is_no_price_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not provider/model=amount/second or /image, with @YYYY-MM-DD"):
        parse_prices(text)


def test_a_day_that_the_calendar_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="2026-02-30 is not a day of the calendar"):
        parse_prices("runpod/m@2026-02-30=1/second")


def test_two_prices_of_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="runpod/m has two prices of a second for the same day"):
        parse_prices("runpod/m=1/second,runpod/m=2/second")
    assert len(parse_prices("runpod/m=1/second,runpod/m=2/image,runpod/m@2026-01-01=2/second").prices) == 3


@given(AMOUNTS, st.integers(0, 10**12), st.integers(0, 10**12))
def test_costs_of_parts_add_up_to_the_cost_of_the_whole(amount: Decimal, one: int, other: int) -> None:
    prices = parse_prices(f"p/m={amount:f}/second")

    def cost(run_ms: int) -> Decimal:
        return prices.cost("p", "m", DAY, run_ms=run_ms, images=0) or Decimal(0)

    assert abs(cost(one) + cost(other) - cost(one + other)) < Decimal("1e-9")


@given(AMOUNTS, AMOUNTS, st.dates(), st.dates())
def test_a_later_price_changes_no_earlier_day(old: Decimal, new: Decimal, since: date, day: date) -> None:
    before = parse_prices(f"p/m={old:f}/image")
    after = parse_prices(f"p/m={old:f}/image,p/m@{since.isoformat()}={new:f}/image")
    expected = new if day >= since and since != date.min else old
    if since == date.min:
        return
    assert after.amount("p", "m", day, Unit.IMAGE) == expected
    assert before.amount("p", "m", day, Unit.IMAGE) == old


def test_a_list_without_prices_knows_none() -> None:
    assert PriceList().amount("p", "m", DAY, Unit.IMAGE) is None
