"""What was used at the providers, and what it cost by a list of prices.

Only uses are stored. Money is computed when it is read, from the uses of each day and the price of that day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Final

from gengui_stream.domain.prices import PriceList
from gengui_stream.postgres.pool import Pool, transient_errors
from schemas.admin.service import CostReport, CostResource

USAGE: Final = """
SELECT provider, model, day, sum(runs)::bigint AS runs, sum(images)::bigint AS images, sum(run_ms)::bigint AS run_ms
FROM projections.provider_usage
WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
GROUP BY provider, model, day ORDER BY provider, model, day
"""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """`run_ms`: for how long the runs that ended on this UTC day ran."""

    provider: str
    model: str
    day: date
    runs: int
    images: int
    run_ms: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a model, in some days. `amount`: None when no day has a price. `unpriced_runs`: those of days without a price,
    which `amount` leaves out."""

    provider: str
    model: str
    runs: int
    images: int
    run_seconds: float
    amount: Decimal | None
    unpriced_runs: int


async def usage(pool: Pool, since: date | None = None, until: date | None = None) -> list[DayUsage]:
    """By provider, model and day, both days included; None: without a limit."""
    with transient_errors():
        return [DayUsage(**row) for row in await pool.fetch(USAGE, since, until)]


def costs(used: Iterable[DayUsage], prices: PriceList) -> list[Cost]:
    """By provider and model, in their order. `used`: in that order."""
    groups = groupby(used, key=lambda one: (one.provider, one.model))
    return [_cost(provider, model, list(days), prices) for (provider, model), days in groups]


def report_of(found: Sequence[Cost]) -> CostReport:
    """For programs."""
    data = [
        CostResource(
            provider=one.provider,
            model=one.model,
            runs=one.runs,
            images=one.images,
            run_seconds=one.run_seconds,
            cost=None if one.amount is None else _number(one.amount),
            unpriced_runs=one.unpriced_runs,
        )
        for one in found
    ]
    return CostReport(cost=_number(sum((one.amount or Decimal(0) for one in found), Decimal(0))), data=data)


def _number(amount: Decimal) -> float:
    return round(float(amount), 6)


def _cost(provider: str, model: str, days: Sequence[DayUsage], prices: PriceList) -> Cost:
    amounts = [prices.cost(provider, model, day.day, run_ms=day.run_ms, images=day.images) for day in days]
    known = [amount for amount in amounts if amount is not None]
    return Cost(
        provider,
        model,
        runs=sum(day.runs for day in days),
        images=sum(day.images for day in days),
        run_seconds=sum(day.run_ms for day in days) / 1000,
        amount=sum(known, Decimal(0)) if known else None,
        unpriced_runs=sum(day.runs for day, amount in zip(days, amounts, strict=True) if amount is None),
    )
