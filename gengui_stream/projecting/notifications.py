"""Notifications and metrics after each commit."""

import time
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.metrics import Metrics
from gengui_stream.projecting.partition_queues import Committed
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projections.outcomes import Applied, DeadLettered, Forwarded, Outcome
from gengui_stream.redis_io.notification_buffer import NotificationBuffer
from gengui_stream.redis_io.notifications import ChangeNotification


def notify_after_commit(buffer: NotificationBuffer, metrics: Metrics) -> Committed:
    """Called after each commit: notifies the readers of the generations that changed (law 7), and counts."""

    def committed(batch: ProjectedBatch, seconds: float) -> None:
        tally = batch.tally
        metrics.observe_batch(
            applied=tally.applied, ignored=tally.ignored, dead_lettered=tally.dead_lettered, seconds=seconds
        )
        metrics.events_forwarded.inc(sum(isinstance(outcome, Forwarded) for outcome in batch.outcomes))
        if (age := age_s(batch.outcomes, time.time())) is not None:
            metrics.freshness_seconds.observe(age)
        for (provider, ending), number in endings(batch.outcomes).items():
            metrics.generations_ended.labels(provider, ending).inc(number)
        buffer.add(notifications_of(batch.partition, batch.outcomes), {job.kind for job in batch.jobs.made})

    return committed


def age_s(outcomes: Sequence[Outcome], now: float) -> float | None:
    """The age of the oldest record in seconds. `now`: Unix seconds. None without a record that has a time."""
    appended = [outcome.record.timestamp for outcome in outcomes[:1] if outcome.record.timestamp is not None]
    return max(0.0, now - appended[0] / 1000) if appended else None


def endings(outcomes: Sequence[Outcome]) -> Counter[tuple[str, str]]:
    """The number of generations that ended, by provider and status."""
    return Counter(
        (outcome.after.provider, outcome.after.status.value)
        for outcome in outcomes
        if isinstance(outcome, Applied)
        and outcome.before is not None
        and outcome.after.terminal
        and not outcome.before.terminal
    )


def notifications_of(partition: int, outcomes: Sequence[Outcome]) -> list[ChangeNotification]:
    """One for each generation with new records and a known owner, with the position of the last record."""
    latest: dict[UUID, tuple[Generation, int]] = {}
    for outcome in outcomes:
        if isinstance(outcome, DeadLettered | Forwarded):
            continue
        state = outcome.after if isinstance(outcome, Applied) else outcome.state
        if state is not None:
            latest[state.generation_id] = state, outcome.record.offset
    return [ChangeNotification(state.owner_id, gid, partition, offset) for gid, (state, offset) in latest.items()]
