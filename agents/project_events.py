"""The one agent of the projector app: every record of the log into the read models, exactly once."""

import faust
from faust.types import StreamT, TopicT

from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projecting.partition_queues import PartitionQueues


def add_project_events(app: faust.App, topic: TopicT, queues: PartitionQueues) -> None:
    @app.agent(topic, name="project_events", concurrency=1)
    async def project_events(stream: StreamT[RecordBatch]) -> None:
        async with queues.open():
            async for batch in stream:
                await queues.submit(batch)
