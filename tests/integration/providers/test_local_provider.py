"""The scripts of the local queue: each effect happens once, in any order of dispatch and cancel."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from redis.asyncio import Redis

from gengui_stream.identifiers import new_id
from gengui_stream.providers.interface import (
    CancelOutcome,
    Dispatched,
    DispatchRequest,
    Lost,
    ProviderJob,
    Refused,
    Running,
    Superseded,
)
from gengui_stream.providers.local.leases import JobLeases
from gengui_stream.providers.local.provider import LocalProvider
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, WORKER_GROUP, job_key
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ConsumerStreams
from gengui_stream.settings import Settings
from gengui_stream.testing.object_store import InMemoryObjectStore
from tests.dispatches import a_dispatch

pytestmark = pytest.mark.stack

JOB = ProviderJob(dispatched_at=datetime(2026, 6, 1, tzinfo=UTC))


def request(generation_id: UUID, attempt: int = 1) -> DispatchRequest:
    return a_dispatch(generation_id=generation_id, attempt=attempt)


async def status(redis: Redis, generation_id: UUID, value: str) -> None:
    await redis.hset(job_key(generation_id), "status", value)


async def test_dispatch_and_cancel_in_any_order(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local = LocalProvider(shared(redis), InMemoryObjectStore())

        queued = new_id()
        first = await local.dispatch(request(queued))
        assert isinstance(first, Dispatched)
        assert await local.dispatch(request(queued)) == first
        assert await redis.xlen(QUEUE_STREAM) == 1
        assert [await local.cancel(request(queued, 1), JOB) for _ in range(2)] == [CancelOutcome.STOPPED] * 2
        assert await redis.xlen(QUEUE_STREAM) == 0
        assert await local.dispatch(request(queued)) == Superseded()

        never = new_id()
        assert await local.cancel(request(never, 1), JOB) is CancelOutcome.STOPPED
        assert await local.dispatch(request(never)) == Superseded()
        assert isinstance(await local.dispatch(request(never, 2)), Dispatched)
        assert await redis.xlen(QUEUE_STREAM) == 1


async def test_queued_entries_are_counted_by_model_until_a_worker_has_them(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local, leases = LocalProvider(shared(redis), InMemoryObjectStore()), JobLeases(shared(redis))

        async def waiting(most: int = 9) -> list[int | None]:
            return [await local.waiting(model, most) for model in ("flux", "sketch")]

        assert await waiting() == [0, 0]
        for model in ("flux", "sketch", "flux", "flux"):
            await local.dispatch(replace(request(new_id()), model=model))
        assert await waiting() == [3, 1]
        assert await waiting(most=2) == [2, 1]
        await leases.claim(frozenset({"flux"}), "one", 60, "")
        assert await waiting() == [2, 1]
        async with ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "worker", longest_wait_s=1) as worker:
            await worker.create_group()
            assert len(await worker.read_new(2)) == 2
        assert await waiting() == [1, 0]


async def test_a_running_job_is_requested_to_stop(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local, drawn = LocalProvider(shared(redis), InMemoryObjectStore()), new_id()
        await local.dispatch(request(drawn))
        await status(redis, drawn, "processing")
        assert await local.cancel(request(drawn, 1), JOB) is CancelOutcome.REQUESTED
        await status(redis, drawn, "processing")  # an old worker writes without looking
        assert await local.cancel(request(drawn, 1), JOB) is CancelOutcome.REQUESTED
        await status(redis, drawn, "completed")
        assert await local.cancel(request(drawn, 1), JOB) is CancelOutcome.ALREADY_ENDED


async def test_a_later_attempt_takes_the_place_of_an_earlier_one(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local, retried = LocalProvider(shared(redis), InMemoryObjectStore()), new_id()
        await local.dispatch(request(retried, 1))
        await status(redis, retried, "processing")
        second = await local.dispatch(request(retried, 2))
        assert isinstance(second, Dispatched)
        assert await redis.hgetall(job_key(retried)) == {
            "status": "queued",
            "attempt": "2",
            "entryId": second.provider_job_id,
        }
        assert await local.dispatch(request(retried, 1)) == Superseded()
        assert await local.cancel(request(retried, 1), JOB) is CancelOutcome.ALREADY_ENDED
        assert 0 < await redis.ttl(job_key(retried)) <= 7 * 24 * 3600


async def test_the_scripts_come_back_after_redis_forgot_them(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local = LocalProvider(shared(redis), InMemoryObjectStore())
        await local.dispatch(request(new_id()))
        await redis.script_flush()
        assert isinstance(await local.dispatch(request(new_id())), Dispatched)


async def test_a_completion_without_its_picture_is_a_failure_of_the_attempt(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        local, drawn = LocalProvider(shared(redis), InMemoryObjectStore()), new_id()
        await local.dispatch(request(drawn))
        await redis.hset(job_key(drawn), mapping={"status": "completed", "s3Key": "nosuch.png"})
        found = await local.get_status(request(drawn), JOB)
        assert isinstance(found, Refused)
        assert (found.code, found.retryable) == ("object_missing", True)
        assert "nosuch.png" in found.message


async def test_a_worker_without_heartbeats_is_not_given_up_and_one_with_them_is(settings: Settings) -> None:
    began = datetime.now(UTC)
    silent = ProviderJob(dispatched_at=began, started_at=began, sends_heartbeats=False)
    heard = replace(silent, sends_heartbeats=True)
    async with opened_client(settings) as redis:
        local, drawn = LocalProvider(shared(redis), InMemoryObjectStore()), new_id()
        assert isinstance(await local.get_status(request(drawn), silent), Lost), "Redis has lost its data"
        await local.dispatch(request(drawn))
        for marked in ("queued", "processing"):  # not every worker marks its jobs
            await status(redis, drawn, marked)
            assert isinstance(await local.get_status(request(drawn), silent), Running)
            assert isinstance(await local.get_status(request(drawn), heard), Lost)
        assert isinstance(await local.get_status(request(drawn), replace(heard, started_at=None)), Running)
        await redis.hset(job_key(drawn), "heartbeats", "1")
        assert isinstance(await local.get_status(request(drawn), silent), Lost)


async def test_a_job_that_a_lease_gave_back_is_queued_though_it_had_started(settings: Settings) -> None:
    began = datetime.now(UTC)
    job = ProviderJob(dispatched_at=began, started_at=began)
    async with opened_client(settings) as redis:
        local, leases, drawn = LocalProvider(shared(redis), InMemoryObjectStore()), JobLeases(shared(redis)), new_id()
        await local.dispatch(request(drawn))
        claimed = await leases.claim((), "a" * 32, 600)
        assert claimed is not None
        assert isinstance(await local.get_status(request(drawn), job), Lost)
        assert await leases.release(drawn, claimed.lease)
        assert isinstance(await local.get_status(request(drawn), job), Running)
        assert await redis.xlen(QUEUE_STREAM) == 1
        assert await leases.claim((), "b" * 32, 600) is not None
        assert isinstance(await local.get_status(request(drawn), job), Lost)
