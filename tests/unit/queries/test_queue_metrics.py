"""The queue as metrics, without a server: what is exported of a measurement, and for how long."""

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.queue_metrics import VALID_S, QueueCollector
from gengui_stream.queries.queue_depth import QueueDepth

LONG_AGO = datetime(2026, 6, 1, tzinfo=UTC)


def depth(kind: str, provider: str, *, open_: int, leased: int, due: int, oldest_due_s: float = 0.0) -> QueueDepth:
    return QueueDepth(kind, provider, open_, leased, due, LONG_AGO, oldest_due_s)


def test_states_add_up_to_the_open_jobs() -> None:
    collector, registry = QueueCollector(clock=lambda: 100.0), CollectorRegistry()
    registry.register(collector)
    collector.put([depth("dispatch", "local", open_=9, leased=2, due=4, oldest_due_s=7.5)])
    found = {
        state: registry.get_sample_value("gengui_jobs", {"kind": "dispatch", "provider": "local", "state": state})
        for state in ("due", "leased", "scheduled")
    }
    assert found == {"due": 4, "leased": 2, "scheduled": 3}
    assert registry.get_sample_value("gengui_oldest_due_job_seconds", {"kind": "dispatch", "provider": "local"}) == 7.5


def test_a_queue_that_is_empty_by_now_is_not_exported() -> None:
    collector = QueueCollector(clock=lambda: 100.0)
    collector.put([depth("thumbnail", "", open_=1, leased=0, due=1)])
    collector.put([])
    assert [family.samples for family in collector.collect()] == [[], []]


def test_an_old_measurement_is_not_exported() -> None:
    now = 100.0
    collector = QueueCollector(clock=lambda: now)
    collector.put([depth("dispatch", "local", open_=1, leased=0, due=1)])
    now += VALID_S - 0.1
    assert all(family.samples for family in collector.collect())
    now += 0.1
    assert not any(family.samples for family in collector.collect())
