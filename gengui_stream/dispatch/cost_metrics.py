"""What was used at the providers and what it cost, as metrics: of all the log, so that a replay gives the same.

They are gauges and not counters, although they grow: a corrected price or fold may lower them, and a counter that falls
counts as one that began again.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from gengui_stream.dispatch.server_collector import ServerCollector
from gengui_stream.domain.prices import PriceList
from gengui_stream.postgres.pool import Pool
from gengui_stream.queries.costs import Cost, costs, usage

VALID_S: Final = 120.0

LABELS: Final = ("provider", "model")


class CostCollector(ServerCollector[Cost]):
    """A model without a price has no cost."""

    every_s, valid_s, operation = 15.0, VALID_S, "measure costs"

    def _families(self, found: Sequence[Cost]) -> Iterator[GaugeMetricFamily]:
        seconds = GaugeMetricFamily(
            "gengui_gpu_seconds", "Seconds for which attempts ran at a provider, since the first event", labels=LABELS
        )
        images = GaugeMetricFamily("gengui_images", "Images that were made, since the first event", labels=LABELS)
        cost = GaugeMetricFamily(
            "gengui_cost", "What these cost by PRICES, in its currency, since the first event", labels=LABELS
        )
        for one in found:
            seconds.add_metric([one.provider, one.model], one.run_seconds)
            images.add_metric([one.provider, one.model], one.images)
            if one.amount is not None:
                cost.add_metric([one.provider, one.model], float(one.amount))
        yield from (seconds, images, cost)


async def all_costs(pool: Pool, prices: PriceList) -> Sequence[Cost]:
    """Since the first event. Raises TransientError."""
    return costs(await usage(pool), prices)
