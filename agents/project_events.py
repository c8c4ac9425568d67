"""The one agent of the projector app: every record of the log into the read models, exactly once."""

from collections.abc import Sequence
from uuid import UUID

import faust
from faust.types import StreamT, TopicT

from gengui_stream.domain.generation.state import Generation
from gengui_stream.metrics import Metrics
from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projecting.partition_queues import Committed, PartitionQueues
from gengui_stream.projecting.projector import ProjectedBatch
from gengui_stream.projections.outcomes import Applied, DeadLettered, Outcome
from gengui_stream.redis_io.notification_buffer import NotificationBuffer
from gengui_stream.redis_io.notifications import ChangeNotification


def add_project_events(app: faust.App, topic: TopicT, queues: PartitionQueues) -> None:
    @app.agent(topic, name="project_events", concurrency=1)
    async def project_events(stream: StreamT[RecordBatch]) -> None:
        async with queues.open():
            async for batch in stream:
                await queues.submit(batch)


def announcing(buffer: NotificationBuffer, metrics: Metrics) -> Committed:
    """After each commit: tell whoever waits where to look (law 7), and count."""

    def committed(batch: ProjectedBatch, seconds: float) -> None:
        tally = batch.tally
        metrics.observe_batch(
            applied=tally.applied, ignored=tally.ignored, dead_lettered=tally.dead_lettered, seconds=seconds
        )
        buffer.add(notifications_of(batch.partition, batch.outcomes), {job.kind for job in batch.jobs})

    return committed


def notifications_of(partition: int, outcomes: Sequence[Outcome]) -> list[ChangeNotification]:
    """One for every generation whose timeline has grown and whose owner is known: where its last entry is."""
    latest: dict[UUID, tuple[Generation, int]] = {}
    for outcome in outcomes:
        if isinstance(outcome, DeadLettered):
            continue
        state = outcome.after if isinstance(outcome, Applied) else outcome.state
        if state is not None:
            latest[state.generation_id] = state, outcome.record.offset
    return [ChangeNotification(state.owner_id, gid, partition, offset) for gid, (state, offset) in latest.items()]
