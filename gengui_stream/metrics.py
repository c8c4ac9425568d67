"""The Prometheus metrics of the system. Names and labels are a contract with dashboards and alerts.

Nothing is registered at import: a process creates one `Metrics` in a registry of its own and passes it on.
"""

from collections import Counter as Counted
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from gengui_stream.roles import RoleName

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of a process. `role`: registers the metrics of that role alone, so that it exports no zeros of the
    others; None: of every role."""

    def __init__(self, registry: CollectorRegistry, role: RoleName | None = None) -> None:
        self.registry = registry

        def of(*roles: RoleName) -> CollectorRegistry | None:
            return registry if role is None or role in roles else None

        self.events_projected = Counter(
            "gengui_events_projected",
            "Projected records by outcome: applied, ignored, dead_lettered",
            ["outcome"],
            registry=of("agents"),
        )
        self.events_forwarded = Counter(
            "gengui_events_forwarded",
            "Records on a wrong partition that were appended again on the right one",
            registry=of("agents"),
        )
        self.batch_seconds = Histogram(
            "gengui_projector_batch_seconds",
            "Duration of a projector transaction",
            buckets=SECONDS,
            registry=of("agents"),
        )
        self.freshness_seconds = Histogram(
            "gengui_freshness_seconds",
            "Age of the oldest record of a batch once its transaction has committed",
            buckets=SECONDS,
            registry=of("agents"),
        )
        self.generations_ended = Counter(
            "gengui_generations_ended",
            "Ended generations by their last provider and outcome: completed, failed, canceled, timed_out, moderated",
            ["provider", "outcome"],
            registry=of("agents"),
        )
        self.lag_events = Gauge(
            "gengui_projection_lag_events",
            "Records of a partition that are not projected",
            ["partition"],
            registry=of("agents"),
        )
        self.oldest_unprocessed_seconds = Gauge(
            "gengui_oldest_unprocessed_seconds",
            "Age of the oldest unprojected record of a partition",
            ["partition"],
            registry=of("agents"),
        )
        self.parked_generations = Gauge(
            "gengui_parked_generations",
            "Generations of a partition that wait behind a dead letter",
            ["partition"],
            registry=of("agents"),
        )
        self.partition_paused = Gauge(
            "gengui_partition_paused", "1 while an operator has paused the partition", ["partition"],
            registry=of("agents"),
        )  # fmt: skip
        self.catch_up_seconds = Gauge(
            "gengui_projection_catch_up_seconds",
            "Seconds until a partition will have caught up at its present rate; infinite while it does not catch up",
            ["partition"],
            registry=of("agents"),
        )
        self.generations_checked = Counter(
            "gengui_generations_checked",
            "Generations folded again and compared with their rows, by outcome: equal, drifted, left_out, failed",
            ["outcome"],
            registry=of("agents"),
        )
        self.events_appended = Counter(
            "gengui_events_appended",
            "Events that this process appended to the log",
            ["type"],
            registry=of("api", "dispatch", "worker", "thumbnails", "bridge", "account-jobs"),
        )
        self.pruned = Counter(
            "gengui_pruned",
            "Entries and rows removed by retention",
            ["store"],
            registry=of("api", "agents", "bridge", "account-jobs"),
        )
        self.retries = Counter(
            "gengui_retries",
            "Failures of operations that are repeated until a server is available, or takes writes, again",
            ["operation"],
            registry=registry,
        )
        self.jobs_done = Counter(
            "gengui_jobs_done", "Ended jobs by outcome", ["kind", "outcome"], registry=of("dispatch", "thumbnails")
        )
        self.job_seconds = Histogram(
            "gengui_job_seconds",
            "Duration of a job from claim to end",
            ["kind"],
            buckets=SECONDS,
            registry=of("dispatch", "thumbnails"),
        )
        self.dispatched = Counter(
            "gengui_dispatched",
            "Attempts submitted to a provider, by outcome",
            ["provider", "outcome"],
            registry=of("dispatch"),
        )
        self.provider_seconds = Histogram(
            "gengui_provider_call_seconds", "Duration of a call that submits an attempt", ["provider"], buckets=SECONDS,
            registry=of("dispatch"),
        )  # fmt: skip
        self.model_retirement = Gauge(
            "gengui_model_retirement_timestamp_seconds",
            "When a provider retires a model, according to its responses",
            ["provider", "model"],
            registry=of("dispatch"),
        )
        self.reconciled = Counter(
            "gengui_reconciled",
            "Reconciled attempts by finding: expedited, stuck, recovered, retried, gave_up, canceled",
            ["provider", "finding"],
            registry=of("dispatch"),
        )
        self.thumbnail_seconds = Histogram(
            "gengui_thumbnail_seconds",
            "Duration of decoding, scaling and encoding an image",
            buckets=SECONDS,
            registry=of("thumbnails"),
        )
        self.outputs_missing = Counter(
            "gengui_outputs_missing",
            "Outputs of completed generations that are not in the object store",
            registry=of("thumbnails"),
        )
        self.statuses_bridged = Counter(
            "gengui_statuses_bridged",
            "Redis messages of workers by outcome: appended, object_missing (appended as a failure), dead_lettered, "
            "postponed (a server does not answer)",
            ["outcome"],
            registry=of("bridge"),
        )
        self.dead_statuses = Gauge(
            "gengui_dead_statuses", "Redis messages of workers that could not be read, and wait", registry=of("bridge")
        )
        self.emails = Counter(
            "gengui_emails",
            "Tries to send an e-mail by outcome: sent, rescheduled, refused (by the server, for good), not_needed",
            ["kind", "outcome"],
            registry=of("account-jobs"),
        )
        self.emails_unsent = Gauge(
            "gengui_emails_unsent", "E-mails that are not sent: open, failed (refused too often)", ["state"],
            registry=of("account-jobs"),
        )  # fmt: skip
        self.oldest_email_seconds = Gauge(
            "gengui_oldest_email_seconds", "Age of the oldest open e-mail", registry=of("account-jobs")
        )
        self.accounts_deleted = Counter(
            "gengui_accounts_deleted", "Accounts deleted after their grace time", registry=of("account-jobs")
        )
        self.http_requests = Counter(
            "gengui_http_requests", "HTTP requests by status", ["method", "route", "status"], registry=of("api")
        )
        self.http_seconds = Histogram(
            "gengui_http_request_seconds",
            "Duration of an HTTP request; without event streams and `Prefer: wait`",
            ["method", "route"],
            buckets=SECONDS,
            registry=of("api"),
        )
        self.rate_limited = Counter(
            "gengui_rate_limited", "Requests refused with 429, by policy", ["policy"], registry=of("api")
        )
        self.rate_limits_local = Counter(
            "gengui_rate_limits_local",
            "Requests counted by this process alone, as Redis was unavailable",
            ["policy"],
            registry=of("api"),
        )
        self.streams_open = Gauge("gengui_streams_open", "Open event streams", registry=of("api"))
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """The counters of faults exist before the first fault: an increase is seen only between two values."""
        for outcome in ("applied", "ignored", "dead_lettered"):
            self.events_projected.labels(outcome)
        for outcome in ("equal", "drifted", "left_out", "failed"):
            self.generations_checked.labels(outcome)
        for outcome in ("appended", "object_missing", "dead_lettered", "postponed"):
            self.statuses_bridged.labels(outcome)

    def observe_batch(self, *, applied: int, ignored: int, dead_lettered: int, seconds: float) -> None:
        """Records one committed batch of the projector."""
        self.events_projected.labels("applied").inc(applied)
        self.events_projected.labels("ignored").inc(ignored)
        self.events_projected.labels("dead_lettered").inc(dead_lettered)
        self.batch_seconds.observe(seconds)

    def observe_lag(self, partition: int, *, events: int, oldest_seconds: float) -> None:
        """The lag of a partition's projection behind the log."""
        self.lag_events.labels(str(partition)).set(events)
        self.oldest_unprocessed_seconds.labels(str(partition)).set(oldest_seconds)

    def observe_progress(self, partition: int, *, parked: int, paused: bool, eta_s: float | None) -> None:
        """What holds a partition up, and when it will have caught up. `eta_s`: None for never."""
        self.parked_generations.labels(str(partition)).set(parked)
        self.partition_paused.labels(str(partition)).set(paused)
        self.catch_up_seconds.labels(str(partition)).set(inf if eta_s is None else eta_s)

    def forget_lag(self, partition: int) -> None:
        """Removes the lag and the progress of a partition that another process owns now."""
        every = (self.lag_events, self.oldest_unprocessed_seconds, self.parked_generations)
        for gauge in (*every, self.partition_paused, self.catch_up_seconds):
            with suppress(KeyError):
                gauge.remove(str(partition))

    def count_appended(self, types: Iterable[str]) -> None:
        for event_type, number in Counted(types).items():
            self.events_appended.labels(event_type).inc(number)

    def observe_job(self, kind: str, outcome: str, seconds: float) -> None:
        """An ended job. `outcome`: done, failed, retried."""
        self.jobs_done.labels(kind, outcome).inc()
        self.job_seconds.labels(kind).observe(seconds)

    def observe_request(self, *, method: str, route: str, status: int, seconds: float | None) -> None:
        """A request. `route`: the pattern, since each path would be another label. `seconds`: None for a response that
        waits on purpose, which says nothing about latency."""
        self.http_requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self.http_seconds.labels(method, route).observe(seconds)


def new_metrics(role: RoleName | None = None) -> Metrics:
    """Metrics of the role, or of all roles, in a new registry, with the process's memory, CPU, file descriptors and
    garbage collections."""
    without_created: Callable[[], None] = disable_created_metrics  # a gauge beside every counter, which nothing reads
    without_created()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return Metrics(registry, role)
