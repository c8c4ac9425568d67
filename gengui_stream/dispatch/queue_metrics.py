"""The queue as metrics."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from gengui_stream.dispatch.server_collector import ServerCollector
from gengui_stream.queries.queue_depth import QueueDepth

VALID_S: Final = 60.0


class QueueCollector(ServerCollector[QueueDepth]):
    """Kinds and providers without an open job are left out."""

    every_s, valid_s, operation = 5.0, VALID_S, "measure the queue"

    def _families(self, found: Sequence[QueueDepth]) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily(
            "gengui_jobs",
            "Open jobs by state: due (waiting for a process), leased (in progress), scheduled (for later)",
            labels=["kind", "provider", "state"],
        )
        oldest = GaugeMetricFamily(
            "gengui_oldest_due_job_seconds",
            "For how long the first of the due jobs has been due",
            labels=["kind", "provider"],
        )
        for depth in found:
            scheduled = max(0, depth.open - depth.due - depth.leased)
            for state, number in (("due", depth.due), ("leased", depth.leased), ("scheduled", scheduled)):
                jobs.add_metric([depth.kind, depth.provider, state], number)
            oldest.add_metric([depth.kind, depth.provider], depth.oldest_due_s)
        yield jobs
        yield oldest
