"""The Prometheus metrics of the system. Their names and labels are a contract with dashboards and alerts.

Nothing is registered at import: a process makes one `Metrics` in a registry of its own and hands it on.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What a process measures; a role that never does something leaves its metrics at nought."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.events_projected = Counter(
            "gengui_events_projected",
            "Records projected: applied, ignored, dead_lettered",
            ["outcome"],
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "gengui_projector_batch_seconds", "One transaction of a partition", buckets=SECONDS, registry=registry
        )
        self.lag_events = Gauge(
            "gengui_projection_lag_events", "Records of a partition not projected yet", ["partition"], registry=registry
        )
        self.oldest_unprocessed_seconds = Gauge(
            "gengui_oldest_unprocessed_seconds",
            "Age of a partition's oldest such record",
            ["partition"],
            registry=registry,
        )
        self.events_appended = Counter(
            "gengui_events_appended", "Events this process put on the log", ["type"], registry=registry
        )
        self.jobs_done = Counter("gengui_jobs_done", "Jobs by their end", ["kind", "outcome"], registry=registry)
        self.job_seconds = Histogram(
            "gengui_job_seconds", "From claim to end of a job", ["kind"], buckets=SECONDS, registry=registry
        )
        self.dispatched = Counter(
            "gengui_dispatched", "Attempts handed to a provider", ["provider", "outcome"], registry=registry
        )
        self.provider_seconds = Histogram(
            "gengui_provider_call_seconds", "One call that hands an attempt over", ["provider"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.model_retirement = Gauge(
            "gengui_model_retirement_timestamp_seconds",
            "When a provider retires a model, as its answers say",
            ["provider", "model"],
            registry=registry,
        )
        self.reconciled = Counter(
            "gengui_reconciled",
            "Attempts looked at: hinted, or silent: stuck, recovered, retried, gave_up, canceled",
            ["provider", "finding"],
            registry=registry,
        )
        self.thumbnail_seconds = Histogram(
            "gengui_thumbnail_seconds", "Decoding, scaling and encoding one image", buckets=SECONDS, registry=registry
        )
        self.http_requests = Counter(
            "gengui_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.http_seconds = Histogram(
            "gengui_http_request_seconds", "Time to answer", ["method", "route"], buckets=SECONDS, registry=registry
        )
        self.streams_open = Gauge("gengui_streams_open", "Readers of event streams", registry=registry)

    def observe_batch(self, *, applied: int, ignored: int, dead_lettered: int, seconds: float) -> None:
        """One committed batch of the projector."""
        self.events_projected.labels("applied").inc(applied)
        self.events_projected.labels("ignored").inc(ignored)
        self.events_projected.labels("dead_lettered").inc(dead_lettered)
        self.batch_seconds.observe(seconds)

    def observe_lag(self, partition: int, *, events: int, oldest_seconds: float) -> None:
        """How far a partition's projection is behind the log."""
        self.lag_events.labels(str(partition)).set(events)
        self.oldest_unprocessed_seconds.labels(str(partition)).set(oldest_seconds)

    def forget_lag(self, partition: int) -> None:
        """Another process has the partition now and reports on it."""
        self.lag_events.remove(str(partition))
        self.oldest_unprocessed_seconds.remove(str(partition))

    def observe_job(self, kind: str, outcome: str, seconds: float) -> None:
        """A job of ours ended: done, failed, retried."""
        self.jobs_done.labels(kind, outcome).inc()
        self.job_seconds.labels(kind).observe(seconds)

    def observe_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the pattern, never the path, which would be another label each time."""
        self.http_requests.labels(method, route, str(status)).inc()
        self.http_seconds.labels(method, route).observe(seconds)


def new_metrics() -> Metrics:
    """Metrics in a registry of their own, beside the process's memory, CPU, file descriptors and collections."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return Metrics(registry)
