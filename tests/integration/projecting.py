"""A projector beside a test: reads the log as it grows and projects it, with hints, until the test ends."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from gengui_stream.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.log.reader import Record, open_reader
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.projecting.projector import ProjectedBatch, Projector
from gengui_stream.projections.outcomes import Applied, Ignored
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.redis_io.notifications import ChangeNotification, NotificationPublisher
from gengui_stream.settings import Settings


@asynccontextmanager
async def projecting(settings: Settings) -> AsyncIterator[None]:
    """Projects every partition meanwhile, also while PostgreSQL is away for a moment."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(_project(settings, stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(asyncio.CancelledError, ShutdownRequested):
            await task


async def _project(settings: Settings, stop: asyncio.Event) -> None:
    async with opened_pool(settings) as pool, opened_redis(settings) as redis:
        projector, notifications = Projector(pool, settings.events_topic), NotificationPublisher(redis)
        start = await projector.claim(range(settings.events_partitions))
        async with open_reader(settings, start) as reader:
            while not stop.is_set():
                chunks: defaultdict[int, list[Record]] = defaultdict(list)
                for record in await reader.read(timeout_ms=50):
                    chunks[record.partition].append(record)
                for partition, records in chunks.items():
                    batch = await retry_transient(
                        partial(projector.project, partition, records), stop, operation="project"
                    )
                    await notifications.publish(_notifications(batch), {job.kind for job in batch.jobs})


def _notifications(batch: ProjectedBatch) -> list[ChangeNotification]:
    found: list[ChangeNotification] = []
    for outcome in batch.outcomes:
        state = (
            outcome.after if isinstance(outcome, Applied) else outcome.state if isinstance(outcome, Ignored) else None
        )
        if state is not None:
            found.append(
                ChangeNotification(state.owner_id, state.generation_id, batch.partition, outcome.record.offset)
            )
    return found
