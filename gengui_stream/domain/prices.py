"""What providers charge, and what a use of them costs. Amounts are in one currency, whichever it is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

ANY_MODEL: Final = "*"

_ENTRY: Final = re.compile(
    r"(?P<provider>[a-z0-9_-]{1,100})/(?P<model>[^@=,\s]{1,100})(?:@(?P<since>[0-9]{4}-[0-9]{2}-[0-9]{2}))?"
    r"=(?P<amount>[0-9]{1,9}(?:\.[0-9]{1,12})?)/(?P<unit>second|image)",
    re.ASCII,
)


class Unit(StrEnum):
    """What an amount is for: a second of a run, or an image."""

    SECOND = "second"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Price:
    """`model`: ANY_MODEL for all that have no price of their own. `since`: the UTC day from which it holds."""

    provider: str
    model: str
    unit: Unit
    amount: Decimal
    since: date = date.min

    def covers(self, provider: str, model: str, day: date) -> bool:
        return self.provider == provider and self.model in {model, ANY_MODEL} and self.since <= day


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices are never removed from it: a new one has the day from which it holds, so that the past keeps its cost."""

    prices: Sequence[Price] = ()

    def amount(self, provider: str, model: str, day: date, unit: Unit) -> Decimal | None:
        """That of the model itself before that of all models, and of these the latest."""
        found = [price for price in self.prices if price.unit is unit and price.covers(provider, model, day)]
        latest = max(found, key=lambda price: (price.model == model, price.since), default=None)
        return None if latest is None else latest.amount

    def cost(self, provider: str, model: str, day: date, *, run_ms: int, images: int) -> Decimal | None:
        """Of a use on that day; None without a price. A model with a price of both units costs their sum."""
        second, image = (self.amount(provider, model, day, unit) for unit in (Unit.SECOND, Unit.IMAGE))
        if second is None and image is None:
            return None
        return (second or Decimal(0)) * run_ms / 1000 + (image or Decimal(0)) * images


def parse_prices(text: str) -> PriceList:
    """`provider/model=amount/second` or `/image`, comma-separated; `provider/model@2027-01-01=…` from that day on.
    Raises ValueError for anything else, and for a price that is given twice."""
    prices = [_price(part) for part in filter(None, text.split(","))]
    seen: set[tuple[str, str, Unit, date]] = set()
    for price in prices:
        key = price.provider, price.model, price.unit, price.since
        if key in seen:
            raise ValueError(f"{price.provider}/{price.model} has two prices of a {price.unit} for the same day")
        seen.add(key)
    return PriceList(tuple(prices))


def _price(part: str) -> Price:
    found = _ENTRY.fullmatch(part)
    if found is None:
        form = "provider/model=amount/second or /image, with @YYYY-MM-DD after the model for a later price"
        raise ValueError(f"{part[:80]!r} is not {form}")
    try:
        since = date.fromisoformat(found["since"]) if found["since"] else date.min
    except ValueError:
        raise ValueError(f"{found['since']} is not a day of the calendar") from None
    return Price(found["provider"], found["model"], Unit(found["unit"]), Decimal(found["amount"]), since)
