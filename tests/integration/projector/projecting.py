"""A projector beside a test: the production partition processor, driven by a plain reader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog, Forwarding
from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.process.lifecycle import ShutdownRequested
from gengui_stream.projecting.notifications import notify_after_commit
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.plain_reader import follow_log, project_to_end
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.notification_buffer import opened_buffer
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.settings import Settings


@asynccontextmanager
async def projecting(settings: Settings) -> AsyncIterator[None]:
    """Projects every partition meanwhile and notifies, also while PostgreSQL is unavailable for a moment."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(opened_pool(settings))
        redis = await stack.enter_async_context(opened_client(settings))
        buffer = await stack.enter_async_context(opened_buffer(NotificationPublisher(shared(redis))))
        log = await stack.enter_async_context(EventLog(settings))
        stop, projector = asyncio.Event(), _projector(pool, settings, log)
        queues = PartitionQueues(
            projector,
            notify_after_commit(buffer, new_metrics()),
            log_ends(settings),
            settings.projector_batch_max,
            stop,
        )
        following = asyncio.ensure_future(follow_log(queues, settings))
        try:
            yield
            assert not following.done(), following
        finally:
            stop.set()
            following.cancel()
            with suppress(asyncio.CancelledError, ShutdownRequested):
                await following


async def project_everything(settings: Settings, pool: Pool) -> None:
    """As an agents process that starts, reads to the end and stops."""
    async with EventLog(settings) as log:
        projector = _projector(pool, settings, log)
        queues = PartitionQueues(
            projector, _not_notified, log_ends(settings), settings.projector_batch_max, asyncio.Event()
        )
        await project_to_end(queues, settings)


def _projector(pool: Pool, settings: Settings, log: EventLog) -> Projector:
    forwarding = Forwarding(log, settings.events_partitions)
    return Projector(pool, settings.events_topic, job_timings(settings), forwarding=forwarding)


def _not_notified(batch: ProjectedBatch, seconds: float) -> None:
    """Nothing waits for notifications."""
