"""Which brokers lack events, and the metric of it."""

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.replica_metrics import ReplicaCollector
from gengui_stream.log.inspection import Broker, PartitionFacts, brokers_of


def test_each_broker_with_a_replica_has_the_partitions_that_it_lacks_events_of() -> None:
    partitions = (PartitionFacts(0, 1, (3, 1, 2), (1,)), PartitionFacts(1, 1, (1, 2), (1, 2)))
    assert brokers_of(partitions) == [Broker(1, []), Broker(2, [0]), Broker(3, [0])]
    assert brokers_of(()) == []


def test_a_broker_that_has_caught_up_is_exported_as_zero() -> None:
    collector, registry = ReplicaCollector(clock=lambda: 100.0), CollectorRegistry()
    registry.register(collector)
    collector.put([Broker(1, []), Broker(2, [0, 4])])
    found = [registry.get_sample_value("gengui_log_replicas_out_of_sync", {"broker": broker}) for broker in "12"]
    assert found == [0, 2]
