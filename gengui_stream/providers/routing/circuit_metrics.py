"""The state of every circuit breaker of this process, read at each scrape."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gengui_stream.providers.routing.circuit_breaker import Circuits, CircuitState

VALUES: Final = {CircuitState.CLOSED: 0.0, CircuitState.HALF_OPEN: 1.0, CircuitState.OPEN: 2.0}


class CircuitCollector(Collector):
    """Circuits without a recorded call are closed, and not shown."""

    def __init__(self, circuits: Circuits, clock: Callable[[], float] = time.monotonic) -> None:
        self._circuits = circuits
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "gengui_circuit_state", "0 closed, 1 half open (a probe at a time), 2 open", labels=["provider", "model"]
        )
        for report in self._circuits.reports(self._clock()):
            gauge.add_metric([report.provider, report.model], VALUES[report.state])
        yield gauge


@contextmanager
def registered_circuits(registry: CollectorRegistry, circuits: Circuits) -> Iterator[None]:
    """Registers the circuits until the context ends."""
    collector = CircuitCollector(circuits)
    registry.register(collector)
    try:
        yield
    finally:
        registry.unregister(collector)
