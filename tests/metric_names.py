"""Every metric that a process may export, by the names of its samples, with its labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gengui_stream.dispatch.cost_metrics import CostCollector
from gengui_stream.dispatch.queue_metrics import QueueCollector
from gengui_stream.dispatch.replica_metrics import ReplicaCollector
from gengui_stream.metrics import Metrics
from gengui_stream.providers.routing.circuit_breaker import Circuits
from gengui_stream.providers.routing.circuit_metrics import CircuitCollector

SUFFIXES: Final[Mapping[str, Sequence[str]]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def own_registry() -> CollectorRegistry:
    """The metrics of every role."""
    registry = CollectorRegistry()
    Metrics(registry)
    for collector in collectors():
        registry.register(collector)
    return registry


def collectors() -> Sequence[Collector]:
    """Those that read what they export at each scrape."""
    return (CircuitCollector(Circuits()), QueueCollector(), CostCollector(), ReplicaCollector())


def exported() -> Mapping[str, frozenset[str]]:
    """The labels of each name, with those that Prometheus adds."""
    added = ("job", "instance", "role")
    return {name: frozenset((*labels, *added)) for name, labels in (*_own(), *_of_the_process())}


def _own() -> Iterator[tuple[str, Sequence[str]]]:
    registry = CollectorRegistry(auto_describe=False)
    metrics = Metrics(registry)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            yield from _samples(metric._name, str(metric._type), metric._labelnames)
    for collector in collectors():
        for family in collector.collect():
            yield from _samples(family.name, family.type, _labels_of(family))


def _labels_of(family: Metric) -> Sequence[str]:
    """Also of a family without a sample."""
    found: Sequence[str] = vars(family)["_labelnames"]
    return found


def _samples(name: str, type_: str, labels: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    for suffix in SUFFIXES[type_]:
        yield f"{name}{suffix}", (*labels, "le") if suffix == "_bucket" else labels


def _of_the_process() -> Iterator[tuple[str, Sequence[str]]]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    for family in registry.collect():
        for sample in family.samples:
            yield sample.name, tuple(sample.labels)
    yield "up", ()
    yield "ALERTS", ("alertname", "alertstate", "severity", "partition", "provider", "kind", "policy")
