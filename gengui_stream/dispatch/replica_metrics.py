"""Which brokers lack events of the log, as a metric: the loss of one is seen before the next one stops appends."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from gengui_stream.dispatch.server_collector import ServerCollector
from gengui_stream.log.inspection import Broker

VALID_S: Final = 60.0


class ReplicaCollector(ServerCollector[Broker]):
    """Every broker that has a replica, with 0 while all of its replicas are in sync."""

    every_s, valid_s, operation = 15.0, VALID_S, "measure the replicas"

    def _families(self, found: Sequence[Broker]) -> Iterator[GaugeMetricFamily]:
        behind = GaugeMetricFamily(
            "gengui_log_replicas_out_of_sync",
            "Partitions of the log of which the broker has a replica that is not in sync",
            labels=["broker"],
        )
        for broker in found:
            behind.add_metric([str(broker.id)], len(broker.out_of_sync))
        yield behind
