"""The reference worker end to end: queue, image, store, log; and every failure on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.interface import DispatchRequest
from gengui_stream.providers.local.provider import LocalProvider
from gengui_stream.providers.local.redis_keys import DEAD_STREAM, DELIVERIES_MAX, QUEUE_STREAM, WORKER_GROUP, job_key
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings
from gengui_stream.testing.object_store import InMemoryObjectStore
from gengui_stream.worker.queue import RedisWorkQueue
from gengui_stream.worker.run import run_worker
from gengui_stream.worker.transports import STATUS_STREAM
from schemas.events import GenerationRequested
from tests.dispatches import a_dispatch
from tests.integration.following import running, state_of, until
from tests.integration.projector.projecting import projecting

pytestmark = pytest.mark.stack

OWNER = uuid4()


@asynccontextmanager
async def queue_of(settings: Settings, pool: Pool) -> AsyncIterator[Redis]:
    """Projects the log while the block runs; yields the client of the queue."""
    async with projecting(settings), opened_client(settings) as redis:
        yield redis


async def requested(log: EventLog, redis: Redis, *, side: int = 256) -> UUID:
    """A generation whose first attempt is on the queue."""
    generation_id = new_id()
    await log.append(
        GenerationRequested(
            id=new_id(), generation_id=generation_id, occurred_at=datetime.now(UTC), producer="test", owner_id=OWNER,
            prompt="a night sky", seed=3, width=side, height=side, model="m", provider="local",
        )
    )  # fmt: skip
    await LocalProvider(shared(redis), InMemoryObjectStore()).dispatch(_dispatch(generation_id, side))
    return generation_id


def _dispatch(generation_id: UUID, side: int) -> DispatchRequest:
    prompt = "a night sky"
    return a_dispatch(generation_id=generation_id, owner_id=OWNER, prompt=prompt, seed=3, width=side, height=side)


async def ended(pool: Pool, generation_id: UUID) -> Generation | None:
    state = await state_of(pool, generation_id)
    return state if state is not None and state.terminal else None


async def types_of(pool: Pool, generation_id: UUID) -> list[str]:
    """The types of its events in order."""
    rows = await pool.fetch(
        "SELECT type FROM projections.timeline WHERE generation_id = $1 ORDER BY log_offset", generation_id
    )
    return [row["type"].removeprefix("generation.") for row in rows]


async def empty(redis: Redis) -> bool:
    return int(await redis.xlen(QUEUE_STREAM)) == 0


async def test_a_job_becomes_a_picture(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with queue_of(settings, pool) as redis, running(run_worker, settings), open_object_store(settings) as store:
        generation_id = await requested(event_log, redis, side=512)
        state = await until(partial(ended, pool, generation_id))
        assert state is not None
        assert state.status is Status.COMPLETED
        [output] = state.outputs
        body = await store.get(output.object_key, 10_000_000)
        assert output.object_key == media_key(OWNER, generation_id, "image/png")
        assert (output.mime_type, output.width, output.height) == ("image/png", 512, 512)
        assert (output.bytes, output.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        types = await types_of(pool, generation_id)
        assert types[:2] == ["requested", "started"]
        assert types[-1] == "completed"
        assert 3 <= types.count("progressed") <= 10
        await until(partial(empty, redis))
        assert await redis.hgetall(job_key(generation_id)) | {"entryId": ""} == {
            "status": "completed", "attempt": "1", "entryId": "", "s3Key": output.object_key, "heartbeats": "1",
        }  # fmt: skip
        assert (await redis.xpending(QUEUE_STREAM, WORKER_GROUP))["pending"] == 0


async def test_what_a_lost_worker_held_is_taken_over(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    impatient = settings.model_copy(update={"worker_claim_idle_s": 0.5})
    member = ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "lost", longest_wait_s=1)
    async with queue_of(settings, pool) as redis, member as lost:
        await lost.create_group()
        generation_id = await requested(event_log, redis)
        assert len(await lost.read_new(1)) == 1
        async with running(run_worker, impatient):
            state = await until(partial(ended, pool, generation_id))
        assert state is not None
        assert state.status is Status.COMPLETED
        assert await empty(redis)


async def test_the_job_of_a_worker_without_heartbeats_is_not_taken_over(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    impatient = settings.model_copy(update={"worker_claim_idle_s": 0.2})
    member = ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "legacy", longest_wait_s=1)
    async with queue_of(settings, pool) as redis, member as legacy:
        await legacy.create_group()
        slow = await requested(event_log, redis)
        [entry] = await legacy.read_new(1)
        await redis.hset(job_key(slow), "status", "processing")
        async with running(run_worker, impatient):
            other = await requested(event_log, redis)
            await until(partial(ended, pool, other))

            async def looked_at() -> bool:
                pending = await redis.xpending_range(QUEUE_STREAM, WORKER_GROUP, "-", "+", 10)
                return [int(row["times_delivered"]) > DELIVERIES_MAX + 1 for row in pending] == [True]

            await until(looked_at)
            state = await state_of(pool, slow)
            assert state is not None
            assert (state.status, await types_of(pool, slow)) == (Status.QUEUED, ["requested"])
            await legacy.ack([entry.id])


async def test_a_job_that_costs_every_worker_its_life_is_given_up(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    impatient = settings.model_copy(update={"worker_claim_idle_s": 0.5})
    member = ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "lost", longest_wait_s=1)
    async with queue_of(settings, pool) as redis, member as lost:
        await lost.create_group()
        generation_id = await requested(event_log, redis)
        await lost.read_new(1)
        for _ in range(DELIVERIES_MAX - 1):
            await lost.claim_abandoned(1, idle_ms=0)
        async with running(run_worker, impatient):
            state = await until(partial(ended, pool, generation_id))
        assert state is not None
        assert state.error is not None
        assert (state.status, state.error.code) == (Status.FAILED, "worker_lost")


async def test_a_second_delivery_of_the_same_attempt_changes_nothing(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with queue_of(settings, pool) as redis, running(run_worker, settings):
        generation_id = await requested(event_log, redis)
        state = await until(partial(ended, pool, generation_id))
        await until(partial(empty, redis))
        await redis.delete(job_key(generation_id))  # so that nothing but the log knows that it is over
        await LocalProvider(shared(redis), InMemoryObjectStore()).dispatch(_dispatch(generation_id, 256))

        async def completed_twice() -> bool:
            return (await types_of(pool, generation_id)).count("completed") == 2

        await until(completed_twice)
        assert await state_of(pool, generation_id) == state


async def test_a_canceled_job_is_not_drawn(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with queue_of(settings, pool) as redis:
        generation_id = await requested(event_log, redis)
        await redis.hset(job_key(generation_id), "status", "canceled")
        async with running(run_worker, settings):
            state = await until(partial(ended, pool, generation_id))
            assert state is not None
            assert (state.status, state.outputs) == (Status.CANCELED, ())
            await until(partial(empty, redis))


async def test_a_cancel_stops_the_brush(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with queue_of(settings, pool) as redis, running(run_worker, settings):
        generation_id = await requested(event_log, redis, side=2048)

        async def begun() -> bool:
            return "started" in await types_of(pool, generation_id)

        await until(begun)
        await redis.hset(job_key(generation_id), "status", "canceled")
        state = await until(partial(ended, pool, generation_id))
        assert state is not None
        assert state.status is Status.CANCELED


async def test_an_invalid_entry_is_reported_or_dead_lettered_and_blocks_nothing(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with queue_of(settings, pool) as redis:
        streams = ProducerStreams(shared(redis))
        bad_id = await requested(event_log, redis)
        await redis.delete(QUEUE_STREAM)
        await streams.add_many(
            QUEUE_STREAM,
            [{"what": "is this"}, {"mediaId": "x", "prompt": "\udcff"}, {"mediaId": str(bad_id), "width": "a lot"}],
        )
        good_id = await requested(event_log, redis)
        async with running(run_worker, settings):
            good = await until(partial(ended, pool, good_id))
            bad = await until(partial(ended, pool, bad_id))
        assert good is not None
        assert good.status is Status.COMPLETED
        assert bad is not None
        assert bad.error is not None
        assert (bad.status, bad.error.code) == (Status.FAILED, "invalid_job")
        assert "width" in bad.error.message
        dead = [fields or {} for _, fields in await redis.xrange(DEAD_STREAM) or []]
        assert [entry.get("what") for entry in dead] == ["is this", None]
        assert all("mediaId" in entry["dead.reason"] for entry in dead)


async def test_at_a_shutdown_a_worker_releases_unfinished_jobs(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    hasty = settings.model_copy(update={"shutdown_grace_s": 0.2, "s3_endpoint": "http://127.0.0.1:9"})
    async with queue_of(settings, pool) as redis:
        async with running(run_worker, hasty):
            generation_id = await requested(event_log, redis)

            async def begun() -> bool:
                return "progressed" in await types_of(pool, generation_id)

            await until(begun)
        patient = settings.model_copy(update={"worker_claim_idle_s": 600.0})  # it waits for no abandoned entry
        async with running(run_worker, patient):
            state = await until(partial(ended, pool, generation_id))
        assert state is not None
        assert state.status is Status.COMPLETED


async def test_a_heartbeat_that_arrives_after_the_release_does_not_take_the_job_back(
    settings: Settings, event_log: EventLog
) -> None:
    """Both are on their way when a shutdown cancels the heartbeat, each on a connection of its own."""
    store = InMemoryObjectStore()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(opened_client(settings))

        async def queue(name: str) -> RedisWorkQueue:
            streams = ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, name, longest_wait_s=1)
            consumer = await stack.enter_async_context(streams)
            return RedisWorkQueue(consumer, shared(redis), store, name, claim_idle_s=600)

        first, second = await queue("first"), await queue("second")
        await first.create()
        await requested(event_log, redis)
        entry = await first.take()
        assert entry is not None
        assert await first.heartbeat(entry.id)
        await first.release(entry.id)
        assert not await first.heartbeat(entry.id)
        taken = await second.take()
        assert taken is not None
        assert taken.id == entry.id


async def test_over_redis_it_speaks_as_the_existing_workers_do(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    redis_spoken = settings.model_copy(update={"worker_transport": "redis"})
    async with queue_of(settings, pool) as redis, running(run_worker, redis_spoken):
        generation_id = await requested(event_log, redis)
        await until(partial(empty, redis))
        said = [fields for _, fields in await redis.xrange(STATUS_STREAM) or []]
        key = media_key(OWNER, generation_id, "image/png")
        assert said == [
            {"mediaId": str(generation_id), "status": "processing"},
            {"mediaId": str(generation_id), "status": "completed", "s3Key": key},
        ]


async def test_several_at_once(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    several = settings.model_copy(update={"worker_concurrency": 3})
    async with queue_of(settings, pool) as redis, running(run_worker, several):
        ids = [await requested(event_log, redis) for _ in range(9)]
        states = await asyncio.gather(*(until(partial(ended, pool, generation_id)) for generation_id in ids))
        assert {state.status for state in states if state} == {Status.COMPLETED}
