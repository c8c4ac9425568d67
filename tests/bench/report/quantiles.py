"""Quantiles of values."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, sqrt


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed, which is a measured value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by order statistics: it expects no distribution."""
    ordered, half = sorted(values), 1.96 * sqrt(len(values)) / 2
    low, high = floor(len(ordered) / 2 - half), ceil(len(ordered) / 2 + half)
    return ordered[max(0, low)], ordered[min(len(ordered), high) - 1]
