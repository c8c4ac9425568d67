"""The one agent of the projector app: every record of the log into the read models, exactly once."""

from collections.abc import Sequence

import faust
from faust.types import StreamT, TopicT

from agents.batches import RecordBatch
from agents.lanes import Committed, Lanes
from gengui_stream.metrics import Metrics
from gengui_stream.projections.folding import Applied, Dead, Entry
from gengui_stream.projections.projector import ProjectedBatch
from gengui_stream.redis_io.hints import Hint, HintPublisher


def add_project_events(app: faust.App, topic: TopicT, lanes: Lanes) -> None:
    @app.agent(topic, name="project_events", concurrency=1)
    async def project_events(stream: StreamT[RecordBatch]) -> None:
        async with lanes.open():
            async for batch in stream:
                await lanes.give(batch)


def announcing(publisher: HintPublisher, metrics: Metrics) -> Committed:
    """After each commit: tell whoever waits where to look (law 7), and count."""

    async def committed(batch: ProjectedBatch, seconds: float) -> None:
        tally = batch.tally
        metrics.observe_batch(
            applied=tally.applied, ignored=tally.ignored, dead_lettered=tally.dead_lettered, seconds=seconds
        )
        await publisher.publish(hints_of(batch.partition, batch.entries), {job.kind for job in batch.jobs})

    return committed


def hints_of(partition: int, entries: Sequence[Entry]) -> list[Hint]:
    """One for every entry of a generation whose owner is known: its timeline has grown."""
    hints: list[Hint] = []
    for entry in entries:
        if isinstance(entry, Dead):
            continue
        state = entry.after if isinstance(entry, Applied) else entry.state
        if state is not None:
            hints.append(Hint(state.owner_id, state.generation_id, partition, entry.record.offset))
    return hints
