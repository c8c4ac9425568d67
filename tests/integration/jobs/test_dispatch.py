"""From a request to a provider and to its end, while any process in between may die."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import ClaimedJob, PostgresJobQueue
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, job_key
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.redis_io.streams import ConsumerStreams, StreamEntry
from gengui_stream.settings import Settings
from schemas.events import (
    Event,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDispatched,
    GenerationHeartbeatReceived,
    GenerationRequested,
    GenerationStarted,
    Output,
)
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, logged, private_redis, running, state_of

pytestmark = pytest.mark.stack


DISPATCH_AGAIN = """
INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, provider, model, pinned, available_at)
SELECT $1, 'dispatch', partition, generation_id, attempt, r.provider, model, provider_pinned, now()
FROM projections.generation_states s JOIN projections.generation_requests r USING (generation_id)
"""


class Scene:
    """A running projector and dispatcher, and the actions and observations of a test."""

    def __init__(self, settings: Settings, pool: Pool, log: EventLog, redis: Redis) -> None:
        self.settings = settings
        self.pool = pool
        self.log = log
        self.redis = redis

    async def request(self, **changes: object) -> GenerationRequested:
        request = a_request(**changes)
        await self.log.append(request)
        return request

    async def say(self, kind: type[Event], request: GenerationRequested, **fields: object) -> None:
        """Another producer's event about the generation."""
        common = {"id": new_id(), "generation_id": request.generation_id, "occurred_at": datetime.now(UTC)}
        await self.log.append(kind.model_validate({**common, "producer": "test", **fields}))

    async def reaches(self, request: GenerationRequested, status: Status, attempt: int = 1) -> Generation:
        """The generation, once it stands there."""

        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            return state if state and (state.status, state.attempt) == (status, attempt) else None

        state = await eventually(look)
        assert state is not None
        return state

    async def queue(self) -> list[StreamEntry]:
        """The queued jobs for workers; a new group sees all of them."""
        reader = ConsumerStreams(self.redis, QUEUE_STREAM, f"look-{new_id()}", "test")
        await reader.create_group()
        return await reader.read_new(1_000)

    async def queued(self, length: int) -> list[StreamEntry]:
        """The queue, once it is that long."""

        async def look() -> bool:
            return await self.redis.xlen(QUEUE_STREAM) == length

        await eventually(look)
        return await self.queue()

    async def no_open_jobs(self) -> None:
        async def look() -> bool:
            open_jobs = "SELECT count(*) FROM jobs.jobs WHERE kind <> 'thumbnail'"
            return int(await self.pool.fetchval(open_jobs)) == 0

        await eventually(look)

    async def types(self, request: GenerationRequested) -> list[str]:
        events = await logged(self.settings)
        return [event.type for event in events if event.generation_id == request.generation_id]


@asynccontextmanager
async def scene(settings: Settings, pool: Pool, log: EventLog, *, dispatchers: int = 1) -> AsyncIterator[Scene]:
    async with projecting(settings), opened_redis(settings) as redis:
        if dispatchers == 0:
            yield Scene(settings, pool, log, redis)
        elif dispatchers == 1:
            async with running(run_dispatch, settings):
                yield Scene(settings, pool, log, redis)
        else:
            async with running(run_dispatch, settings), running(run_dispatch, settings):
                yield Scene(settings, pool, log, redis)


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """Settings of a system that soon misses a worker."""
    return settings.model_copy(update={"attempt_silence_s": 1.0})


@pytest.fixture
def waiting(settings: Settings) -> Settings:
    """Short time-outs for a test, yet longer than its own steps take."""
    return settings.model_copy(update={"attempt_silence_s": 4.0, "cancel_grace_s": 4.0})


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
        entries = await stage.queued(300)
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


async def test_cancel_before_a_worker_took_it(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.DISPATCHED)
        await stage.queued(1)
        await stage.say(GenerationCancelRequested, request)
        await stage.reaches(request, Status.CANCELED)
        assert await stage.redis.xlen(QUEUE_STREAM) == 0
        assert await stage.redis.hget(job_key(request.generation_id), "status") == "canceled"


async def test_cancel_while_it_is_drawn_ends_it_though_the_worker_is_deaf(
    waiting: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(waiting, pool, event_log) as stage:
        request = await stage.request()
        await stage.queued(1)
        await stage.redis.hset(job_key(request.generation_id), "status", "processing")
        await stage.say(GenerationStarted, request, attempt=1)
        await stage.reaches(request, Status.PROCESSING)
        await stage.say(GenerationCancelRequested, request)

        async def is_canceled() -> bool:
            return await stage.redis.hget(job_key(request.generation_id), "status") == "canceled"

        await eventually(is_canceled)
        await stage.reaches(request, Status.CANCELED)
        await stage.say(GenerationCompleted, request, attempt=1, outputs=(Output(object_key="late.png"),))
        await stage.no_open_jobs()
        await stage.reaches(request, Status.CANCELED)


async def test_a_result_before_the_cancels_grace_is_over_stands(
    waiting: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(waiting, pool, event_log) as stage:
        request = await stage.request()
        await stage.queued(1)
        await stage.redis.hset(job_key(request.generation_id), "status", "processing")
        await stage.say(GenerationStarted, request, attempt=1)
        await stage.say(GenerationCancelRequested, request)
        await stage.say(GenerationCompleted, request, attempt=1, outputs=(Output(object_key="a.png"),))
        await stage.reaches(request, Status.COMPLETED)
        await stage.no_open_jobs()
        await stage.reaches(request, Status.COMPLETED)


async def test_a_lost_worker_costs_an_attempt_and_the_last_one_ends_it(
    hasty: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(hasty, pool, event_log) as stage:
        request = await stage.request(max_attempts=2)
        await stage.reaches(request, Status.DISPATCHED)
        await stage.say(GenerationStarted, request, attempt=1)
        await stage.reaches(request, Status.DISPATCHED, attempt=2)
        await eventually(lambda: _last_queued_attempt(stage, "2"))  # the call follows the announcement
        await stage.say(GenerationHeartbeatReceived, request, attempt=1)  # it was not dead after all: ignored
        await stage.say(GenerationStarted, request, attempt=2)
        state = await stage.reaches(request, Status.TIMED_OUT, attempt=2)
        assert state.error is not None
        assert state.error.message == "attempt 2 was silent for 1 s: its worker shows no sign of life"
        await stage.no_open_jobs()


async def _last_queued_attempt(stage: Scene, attempt: str) -> bool:
    return [entry.fields["attempt"] for entry in await stage.queue()][-1:] == [attempt]


async def test_an_attempt_with_signs_of_life_is_kept_though_the_projections_are_behind(
    hasty: Settings, pool: Pool, event_log: EventLog
) -> None:
    """The agents are down for longer than the heartbeat timeout: the reconciler's state is old, the log is not."""
    async with opened_redis(hasty) as redis, running(run_dispatch, hasty):
        stage = Scene(hasty, pool, event_log, redis)
        async with projecting(hasty):
            request = await stage.request()
            await stage.reaches(request, Status.DISPATCHED)
            await stage.say(GenerationStarted, request, attempt=1)
            await stage.reaches(request, Status.PROCESSING)

        async def given_up() -> bool:
            await stage.say(GenerationHeartbeatReceived, request, attempt=1)
            return "generation.retried" in await stage.types(request)

        await eventually(given_up)
        await eventually(lambda: pool.fetchval("SELECT max(tries) > 2 FROM jobs.jobs WHERE kind = 'reconcile'"))
        assert await redis.hget(job_key(request.generation_id), "status") != "canceled"
        async with projecting(hasty):
            await stage.say(GenerationCompleted, request, attempt=1, outputs=(Output(object_key="a.png"),))
            await stage.reaches(request, Status.COMPLETED, attempt=1)
            reasons = "SELECT DISTINCT ignored FROM projections.timeline WHERE type = 'generation.retried'"
            found = {row["ignored"] for row in await pool.fetch(reasons)}
            assert "heard_since" in found
            assert found <= {"heard_since", "terminal"}, "said again after the end"


async def test_an_abandoned_attempt_is_canceled_at_its_worker(hasty: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(hasty, pool, event_log) as stage:
        request = await stage.request(max_attempts=1)
        await stage.queued(1)
        await stage.redis.hset(job_key(request.generation_id), "status", "processing")
        await stage.say(GenerationStarted, request, attempt=1)
        await stage.reaches(request, Status.TIMED_OUT)

        async def is_canceled() -> bool:
            return await stage.redis.hget(job_key(request.generation_id), "status") == "canceled"

        await eventually(is_canceled)


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


async def test_a_queue_that_lost_its_entries_gets_them_back(hasty: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(hasty, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.DISPATCHED)
        [first] = await stage.queued(1)
        await stage.redis.delete(QUEUE_STREAM)
        [again] = await stage.queued(1)
        assert again.fields == first.fields


async def test_who_is_watched_for_long_is_watched_as_closely_afterwards(
    hasty: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Rechecks and polls are not failures: only the event of an end is appended again with growing delays."""
    async with scene(hasty, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.DISPATCHED)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'reconcile'"))
        await pool.execute("UPDATE jobs.jobs SET tries = 12 WHERE kind = 'reconcile'")
        await eventually(
            lambda: pool.fetchval("SELECT max(tries) < 3 FROM jobs.jobs WHERE kind = 'reconcile'"), within_s=15
        )


async def test_a_provider_that_is_not_there_fails_it(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log) as stage:
        request = await stage.request(provider="nobody")
        state = await stage.reaches(request, Status.FAILED)
        assert state.error is not None
        assert (state.error.code, state.error.retryable) == ("unknown_provider", False)
