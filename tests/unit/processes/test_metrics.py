"""Metrics are in the registry that they are given, under the names that dashboards use."""

from prometheus_client import CollectorRegistry, generate_latest

from gengui_stream.metrics import Metrics, new_metrics


def shown(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_two_sets_of_metrics_know_nothing_of_each_other() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.observe_job("thumbnail", "done", 0.2)
    assert one.registry.get_sample_value("gengui_jobs_done_total", {"kind": "thumbnail", "outcome": "done"}) == 1
    assert other.registry.get_sample_value("gengui_jobs_done_total", {"kind": "thumbnail", "outcome": "done"}) is None


def test_a_batch_counts_each_outcome() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe_batch(applied=5, ignored=2, dead_lettered=1, seconds=0.01)
    counts = {
        outcome: metrics.registry.get_sample_value("gengui_events_projected_total", {"outcome": outcome})
        for outcome in ("applied", "ignored", "dead_lettered")
    }
    assert counts == {"applied": 5, "ignored": 2, "dead_lettered": 1}
    assert metrics.registry.get_sample_value("gengui_projector_batch_seconds_count") == 1


def test_a_partition_that_moved_away_is_not_reported_any_more() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe_lag(3, events=7, oldest_seconds=1.5)
    assert 'gengui_oldest_unprocessed_seconds{partition="3"} 1.5' in shown(metrics)
    metrics.forget_lag(3)
    assert 'partition="3"' not in shown(metrics)


def test_requests_are_counted_by_route() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe_request(method="GET", route="/v1/generations/{id}", status=404, seconds=0.003)
    labels = {"method": "GET", "route": "/v1/generations/{id}", "status": "404"}
    assert metrics.registry.get_sample_value("gengui_http_requests_total", labels) == 1


def test_a_process_reports_its_memory() -> None:
    assert "process_resident_memory_bytes" in shown(new_metrics())
