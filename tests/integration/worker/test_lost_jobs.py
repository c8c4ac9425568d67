"""A worker that was paused for so long that another one has claimed its job: the entry tells the two apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis.asyncio import Redis

from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, WORKER_GROUP
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ConsumerStreams, StreamEntry
from gengui_stream.settings import Settings
from gengui_stream.worker.job import DrawingJob, parse
from gengui_stream.worker.queue import Ownership, RedisWorkQueue
from gengui_stream.worker.run import run_worker
from tests.integration.following import running, until
from tests.integration.worker.test_worker import ended, queue_of, requested, types_of

pytestmark = pytest.mark.stack


@asynccontextmanager
async def work_queue(settings: Settings, redis: Redis, name: str) -> AsyncIterator[RedisWorkQueue]:
    async with (
        ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, name, longest_wait_s=1) as consumer,
        open_object_store(settings) as store,
    ):
        queue = RedisWorkQueue(consumer, shared(redis), store, name, claim_idle_s=0.1)
        await queue.create()
        yield queue


def job_of(entry: StreamEntry) -> DrawingJob:
    job = parse(entry.fields)
    assert isinstance(job, DrawingJob)
    return job.model_copy(update={"entry_id": entry.id})


async def holders(redis: Redis) -> list[str]:
    pending = await redis.xpending_range(QUEUE_STREAM, WORKER_GROUP, min="-", max="+", count=10)
    return [str(row["consumer"]) for row in pending]


async def test_the_entry_of_a_claimed_job_is_no_longer_the_first_workers(
    settings: Settings, event_log: EventLog
) -> None:
    async with (
        opened_client(settings) as redis,
        work_queue(settings, redis, "paused") as paused,
        work_queue(settings, redis, "successor") as successor,
    ):
        await requested(event_log, redis)
        entry = await until(paused.take)
        assert entry is not None
        job = job_of(entry)
        assert await paused.mark(job, "processing", {"heartbeats": "1"}) is Ownership.OURS
        assert await until(successor.take) == entry
        assert await successor.mark(job, "processing") is Ownership.OURS
        assert await paused.mark(job, "failed") is Ownership.LOST
        assert not await paused.heartbeat(entry.id)
        await paused.release(entry.id)
        await paused.done(entry.id)
        assert await holders(redis) == ["successor"]
        assert await successor.heartbeat(entry.id)
        assert await successor.mark(job, "completed") is Ownership.OURS
        await successor.done(entry.id)
        assert (await holders(redis), await redis.xlen(QUEUE_STREAM)) == ([], 0)


async def test_without_the_stream_a_job_stays_the_workers(settings: Settings, event_log: EventLog) -> None:
    """Redis may have lost its data: nothing says that another worker has the job."""
    async with opened_client(settings) as redis, work_queue(settings, redis, "worker") as queue:
        await requested(event_log, redis)
        entry = await until(queue.take)
        assert entry is not None
        await redis.delete(QUEUE_STREAM)
        assert await queue.ownership(job_of(entry)) is Ownership.OURS
        assert await queue.heartbeat(entry.id)
        await queue.done(entry.id)


async def test_a_worker_stops_drawing_a_job_that_another_one_has_claimed(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """It takes the next job, and reports no result of the first."""
    patient = settings.model_copy(update={"worker_claim_idle_s": 600.0})
    member = ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "successor", longest_wait_s=1)
    async with queue_of(settings, pool) as redis, member as successor, running(run_worker, patient):
        claimed = await requested(event_log, redis, side=2048)

        async def begun() -> bool:
            return "started" in await types_of(pool, claimed)

        await until(begun)
        assert len((await successor.claim_abandoned(1, idle_ms=0)).entries) == 1
        following = await requested(event_log, redis)
        assert await until(partial(ended, pool, following))
        assert "completed" not in await types_of(pool, claimed)
        assert await holders(redis) == ["successor"]
