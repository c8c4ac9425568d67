"""Cancellations, lost workers and lost entries of the local queue, whichever process dies in between."""

from datetime import timedelta

import pytest

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import partition_owners
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, job_key
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.settings import Settings
from schemas.events import (
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationHeartbeatReceived,
    GenerationStarted,
    Output,
)
from tests.integration.jobs.conftest import Scene, scene
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually, running

pytestmark = pytest.mark.stack


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """Settings of a system that soon misses a worker."""
    return settings.model_copy(update={"attempt_silence_s": 1.0})


@pytest.fixture
def waiting(settings: Settings) -> Settings:
    """Short time-outs for a test, yet longer than its own steps take."""
    return settings.model_copy(update={"attempt_silence_s": 4.0, "cancel_grace_s": 4.0})


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
    waiting: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agents are down for longer than the heartbeat timeout: the reconciler's state is old, the log is not. Its
    jobs would be claimed for ten seconds alone."""
    monkeypatch.setattr(partition_owners, "VALID_FOR", timedelta(minutes=5))
    async with opened_client(waiting) as redis, running(run_dispatch, waiting):
        stage = Scene(waiting, pool, event_log, redis)
        async with projecting(waiting):
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
        async with projecting(waiting):
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
