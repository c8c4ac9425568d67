"""From a request to a provider and to its end, while any process in between may die."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.jobs.queue import ClaimedJob, PostgresJobQueue
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, job_key
from gengui_stream.settings import Settings
from schemas.events import (
    GenerationCompleted,
    GenerationDispatched,
    Output,
)
from tests.integration.jobs.conftest import scene
from tests.integration.running import a_request, eventually, logged, private_redis, running

pytestmark = pytest.mark.stack


DISPATCH_AGAIN = """
INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, provider, model, pinned, available_at)
SELECT $1, 'dispatch', partition, generation_id, attempt, r.provider, model, provider_pinned, now()
FROM projections.generation_states s JOIN projections.generation_requests r USING (generation_id)
"""


async def test_a_request_reaches_the_queue_as_workers_know_it(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.DISPATCHED)
        [entry] = await stage.queued(1)
        assert entry.fields == {
            "userId": str(request.owner_id),
            "mediaId": str(request.generation_id),
            "prompt": "a lighthouse, 光",
            "seed": "42",
            "width": "512",
            "height": "768",
            "status": "queued",
            "attempt": "1",
            "model": "local-sketch",
        }
        known = await stage.redis.hgetall(job_key(request.generation_id))
        assert known == {"status": "queued", "attempt": "1", "entryId": entry.id}
        await stage.say(GenerationCompleted, request, attempt=1, outputs=(Output(object_key="a.png"),))
        await stage.reaches(request, Status.COMPLETED)
    assert await stage.types(request) == ["generation.requested", "generation.dispatched", "generation.completed"]


async def test_two_dispatchers_dispatch_each_once(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log, dispatchers=2) as stage:
        requests = [a_request() for _ in range(300)]
        await event_log.append_many(requests)
        entries = [entry async for entry in stage.taken(300)]
    assert {entry.fields["mediaId"] for entry in entries} == {str(request.generation_id) for request in requests}
    announced = [event for event in await logged(settings) if isinstance(event, GenerationDispatched)]
    assert len(announced) == len({event.id for event in announced}) == 300


async def test_a_job_done_twice_makes_one_entry(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request()
        for again in range(3):
            await stage.reaches(request, Status.DISPATCHED)
            await stage.queued(1)

            async def is_done() -> bool:
                return not await pool.fetchval("SELECT count(*) > 0 FROM jobs.jobs WHERE kind = 'dispatch'")

            await eventually(is_done)
            if again < 2:
                await pool.execute(DISPATCH_AGAIN, f"dispatch:{request.generation_id}:1")
        assert await stage.redis.xlen(QUEUE_STREAM) == 1
    assert await stage.types(request) == ["generation.requested", "generation.dispatched"]


async def test_a_lost_dispatchers_jobs_are_taken_over(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log, dispatchers=0) as stage:
        request = await stage.request()
        lost = PostgresJobQueue(pool, "dispatch", owner="lost", lease_seconds=1)
        [job] = await eventually(lambda: _claim(lost))
        async with running(run_dispatch, settings):
            await stage.reaches(request, Status.DISPATCHED)
            await stage.queued(1)
        assert await lost.renew([job.key]) == set()


async def _claim(queue: PostgresJobQueue) -> list[ClaimedJob]:
    queues = await queue.queues()
    return await queue.claim(10, queues) if queues else []


async def test_redis_away_means_later(settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        alone = server.settings(settings)
        async with scene(alone, pool, event_log) as stage:
            request = await stage.request()
            await stage.reaches(request, Status.DISPATCHED)  # announced; the call fails
            await server.start()
            await stage.queued(1)
            await server.kill()
            await server.start()
            other = await stage.request()  # found by polling, or by notifications after the reconnect
            await stage.reaches(other, Status.DISPATCHED)
            await stage.queued(2)


async def test_past_its_deadline_it_ends_though_no_worker_took_it(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request(deadline=datetime.now(UTC) + timedelta(seconds=5))
        await stage.reaches(request, Status.DISPATCHED)
        await stage.reaches(request, Status.TIMED_OUT)
        await stage.queued(0)
        late = await stage.request(deadline=datetime.now(UTC) - timedelta(seconds=1))
        await stage.reaches(late, Status.TIMED_OUT)
        assert await stage.types(late) == ["generation.requested", "generation.timed_out"]
        assert await stage.redis.xlen(QUEUE_STREAM) == 0


async def test_a_provider_that_is_not_there_fails_it(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request(provider="nobody")
        state = await stage.reaches(request, Status.FAILED)
        assert state.error is not None
        assert (state.error.code, state.error.retryable) == ("unknown_provider", False)
