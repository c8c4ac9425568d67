"""Costs of days summed up by model, without a server, and as metrics."""

from datetime import date
from decimal import Decimal

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.cost_metrics import VALID_S, CostCollector
from gengui_stream.domain.prices import parse_prices
from gengui_stream.queries.costs import DayUsage, costs, report_of

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)
USED = [
    DayUsage("gemini", "flash", FIRST, runs=2, images=3, run_ms=5_000),
    DayUsage("runpod", "zit", FIRST, runs=4, images=4, run_ms=10_000),
    DayUsage("runpod", "zit", SECOND, runs=1, images=0, run_ms=2_500),
]
PRICES = parse_prices("runpod/zit@2026-11-02=2/second")


def test_days_are_summed_up_and_those_without_a_price_are_counted() -> None:
    gemini, runpod = costs(USED, PRICES)
    assert (gemini.runs, gemini.images, gemini.run_seconds, gemini.amount, gemini.unpriced_runs) == (2, 3, 5, None, 2)
    assert (runpod.runs, runpod.images, runpod.run_seconds) == (5, 4, 12.5)
    assert (runpod.amount, runpod.unpriced_runs) == (Decimal(5), 4)


def test_the_report_sums_up_what_is_known() -> None:
    report = report_of(costs(USED, PRICES))
    assert report.cost == 5
    assert [(one.provider, one.cost) for one in report.data] == [("gemini", None), ("runpod", 5.0)]
    assert report_of([]).cost == 0


def test_a_model_without_a_price_has_no_cost_metric() -> None:
    now = 100.0
    collector, registry = CostCollector(clock=lambda: now), CollectorRegistry()
    registry.register(collector)
    collector.put(costs(USED, PRICES))
    runpod, gemini = {"provider": "runpod", "model": "zit"}, {"provider": "gemini", "model": "flash"}
    assert registry.get_sample_value("gengui_gpu_seconds", runpod) == 12.5
    assert registry.get_sample_value("gengui_images", gemini) == 3
    assert registry.get_sample_value("gengui_cost", runpod) == 5
    assert registry.get_sample_value("gengui_cost", gemini) is None
    now += VALID_S
    assert registry.get_sample_value("gengui_gpu_seconds", runpod) is None
