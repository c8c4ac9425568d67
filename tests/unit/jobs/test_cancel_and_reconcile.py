"""The canceler and the reconciler on the in-memory twins."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from gengui_stream.dispatch.call_limiter import CallLimiter
from gengui_stream.dispatch.handler import Dispatcher
from gengui_stream.domain.generation.state import Status
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.interface import Canceled, DispatchRequest, Finished, Lost, Refused, Running, RunTimes
from gengui_stream.reconcile.handler import Reconciler
from gengui_stream.testing.provider import ResponseLost
from schemas.events import (
    Failure,
    GenerationCancelRequested,
    GenerationFailed,
    GenerationStarted,
    Output,
)
from tests.unit.jobs.stage import HEARTBEAT_S, IN_DOUBT_S, Stage

OUTPUT = Output(object_key="a.png")
LIMIT = timedelta(seconds=20)
LOST = Lost("its worker is gone")


async def test_a_cancellation_waits_for_the_job_id_and_then_stops_the_run() -> None:
    stage = Stage()
    request = await stage.request()

    async def cancel(called: DispatchRequest) -> None:
        await stage.say(GenerationCancelRequested, request.generation_id)
        assert await stage.process.cancel() == 1

    stage.provider.during_dispatch = cancel
    await stage.process.dispatch()
    assert stage.provider.cancels == [], "no id to cancel by"
    stage.advance(1)
    await stage.process.cancel()
    [run] = stage.provider.runs
    assert [job.provider_job_id for job in stage.provider.cancels] == [run.job_id]
    assert isinstance(run.status, Canceled)
    assert stage.state(request).status is Status.CANCELED
    stage.advance(HEARTBEAT_S)
    await stage.process.work()
    assert stage.open_jobs() == []


async def test_a_cancellation_of_a_lost_call_ends_the_generation_once_the_call_is_no_longer_in_doubt() -> None:
    stage = Stage()
    stage.provider.next_answers.append(ResponseLost())
    request = await stage.request()
    await stage.process.dispatch()
    await stage.say(GenerationCancelRequested, request.generation_id)
    for _ in range(10):
        assert await stage.process.cancel() == 1
        assert stage.state(request).status is Status.DISPATCHED
        stage.advance(1)
    stage.advance(IN_DOUBT_S)
    for _ in range(2):
        await stage.process.cancel()
        stage.advance(stage.system.cancel_grace_s)
    assert stage.state(request).status is Status.CANCELED


async def test_a_worker_that_was_asked_to_stop_has_its_grace() -> None:
    stage = Stage(repeatable=True)
    request = await stage.request()
    await stage.process.work()
    stage.provider.runs[0].started = True
    await stage.say(GenerationStarted, request.generation_id, attempt=1)
    await stage.say(GenerationCancelRequested, request.generation_id)
    await stage.process.cancel()
    assert stage.provider.runs[0].asked_to_stop
    assert stage.state(request).status is Status.PROCESSING
    assert await stage.process.cancel() == 0
    stage.advance(stage.system.cancel_grace_s)
    await stage.process.cancel()
    assert stage.state(request).status is Status.CANCELED


async def test_a_cancellation_that_does_not_reach_the_provider_is_repeated() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    await stage.say(GenerationCancelRequested, request.generation_id)
    stage.provider.available = False
    await stage.process.cancel()
    assert stage.state(request).status is Status.DISPATCHED
    stage.provider.available = True
    stage.advance(15)
    await stage.process.cancel()
    assert isinstance(stage.provider.runs[0].status, Canceled)
    assert stage.state(request).status is Status.CANCELED


async def test_a_silent_attempt_is_polled_and_its_result_recorded() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    stage.provider.runs[0].status = Finished((OUTPUT,))
    assert await stage.process.reconcile() == 0, "it is not silent yet"
    stage.advance(HEARTBEAT_S)
    await stage.process.work()
    assert stage.state(request).status is Status.COMPLETED


async def test_a_sign_of_life_at_the_provider_keeps_the_attempt() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    stage.provider.runs[0].status = Running(alive=True)
    stage.advance(HEARTBEAT_S)
    await stage.process.work()
    assert stage.types()[-1] == "heartbeat_received"
    assert (stage.state(request).status, stage.state(request).attempt) == (Status.PROCESSING, 1)
    assert stage.open_jobs() == ["reconcile"]


async def test_a_lost_attempt_is_followed_by_another_and_the_last_one_ends_the_generation() -> None:
    stage = Stage()
    request = await stage.request(max_attempts=2)
    for attempt in (1, 2):
        await stage.process.work()
        assert [call.attempt for call in stage.provider.calls][-1] == attempt
        stage.provider.runs[-1].status = LOST
        stage.advance(HEARTBEAT_S)
        await stage.process.reconcile()
        stage.advance(5)
    state = stage.state(request)
    assert (state.status, state.attempt) == (Status.TIMED_OUT, 2)


async def test_an_expedited_attempt_is_polled_at_once() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    stage.provider.runs[0].status = Refused("worker_failed", "no memory", retryable=False)
    stage.system.jobs.expedite_reconcile(request.generation_id, 1)
    await stage.process.reconcile()
    assert stage.state(request).status is Status.FAILED


async def test_a_superseded_run_is_canceled_when_its_job_is_closed() -> None:
    stage = Stage(repeatable=True)
    request = await stage.request()
    await stage.process.work()
    failure = Failure(code="lost", message="the connection was lost", retryable=True)
    await stage.say(GenerationFailed, request.generation_id, attempt=1, error=failure)
    assert stage.state(request).attempt == 2
    stage.advance(HEARTBEAT_S)
    await stage.process.reconcile()
    assert isinstance(stage.provider.runs[0].status, Canceled)
    await stage.process.dispatch()
    assert stage.state(request).status is Status.DISPATCHED
    assert isinstance(stage.provider.runs[1].status, Running)


async def test_a_finished_result_counts_at_the_deadline_and_a_run_without_one_is_stopped() -> None:
    stage = Stage()
    finished, running = [await stage.request(deadline=stage.system.clock.now() + LIMIT) for _ in range(2)]
    await stage.process.work()
    by_generation = {run.request.generation_id: run for run in stage.provider.runs}
    by_generation[finished.generation_id].status = Finished((OUTPUT,))
    stage.advance(LIMIT.total_seconds() + 1)
    await stage.process.reconcile()
    assert stage.state(finished).status is Status.COMPLETED
    assert stage.state(running).status is Status.TIMED_OUT
    stage.advance(10)
    await stage.process.work()
    assert stage.open_jobs() == ["thumbnail"]


async def test_a_run_whose_id_arrives_while_its_generation_is_canceled_is_stopped() -> None:
    """Its call took longer than it may be in doubt, so there was no id to cancel by."""
    stage = Stage()
    request = await stage.request()
    called, responds = asyncio.Event(), asyncio.Event()

    async def stall(dispatched: DispatchRequest) -> None:
        called.set()
        await responds.wait()

    async def respond(polled: DispatchRequest) -> None:
        responds.set()
        await dispatching

    stage.provider.during_dispatch, stage.provider.during_status = stall, respond
    dispatching = asyncio.create_task(stage.process.dispatch())
    await called.wait()
    stage.advance(HEARTBEAT_S)
    await stage.say(GenerationCancelRequested, request.generation_id)
    await stage.process.reconcile()
    assert stage.types()[-2:] == ["accepted", "canceled"]
    stage.advance(10)
    await stage.process.work()
    assert stage.state(request).status is Status.CANCELED
    assert isinstance(stage.provider.runs[0].status, Canceled)


async def test_times_from_a_provider_are_those_of_the_run() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    dispatched_at = stage.system.clock.now()
    stage.advance(HEARTBEAT_S)
    times = RunTimes(dispatched_at + timedelta(seconds=3), dispatched_at + timedelta(seconds=8))
    stage.provider.runs[0].status = Finished((OUTPUT,), times)
    await stage.process.work()
    state = stage.state(request)
    assert (state.status, state.started_at, state.ended_at) == (Status.COMPLETED, times.started_at, times.ended_at)


async def test_times_of_a_failed_run_count_too() -> None:
    stage = Stage()
    request = await stage.request(max_attempts=1)
    await stage.process.work()
    dispatched_at = stage.system.clock.now()
    stage.advance(HEARTBEAT_S)
    times = RunTimes(dispatched_at + timedelta(seconds=3), dispatched_at + timedelta(seconds=8))
    stage.provider.runs[0].status = Refused("worker_failed", "no memory", retryable=True, times=times)
    await stage.process.work()
    state = stage.state(request)
    assert (state.status, state.started_at, state.ended_at) == (Status.FAILED, times.started_at, times.ended_at)


async def test_a_start_on_the_log_counts_and_no_run_ends_before_it() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    stage.advance(5)
    began = stage.system.clock.now()
    await stage.say(GenerationStarted, request.generation_id, attempt=1)
    stage.advance(HEARTBEAT_S)
    times = RunTimes(began - timedelta(seconds=4), began - timedelta(seconds=2))
    stage.provider.runs[0].status = Finished((OUTPUT,), times)
    await stage.process.work()
    state = stage.state(request)
    assert (state.status, state.started_at, state.ended_at) == (Status.COMPLETED, began, began)


async def test_a_process_whose_clock_is_ahead_times_nothing_out() -> None:
    """Deadlines and silences count by the clock of the database, which is one for all."""
    stage = Stage()
    ahead = replace(stage.process.context, clock=lambda: stage.system.clock.now() + timedelta(hours=1))
    request = await stage.request(deadline=stage.system.clock.now() + timedelta(minutes=5))
    stage.system.projection.catch_up()
    dispatches = stage.system.jobs.queue("dispatch", owner="ahead")
    dispatcher = Dispatcher(dispatches, ahead, CallLimiter(ahead.providers, new_metrics(), ahead.stop))
    await dispatcher.work(await dispatcher.claim(10))
    assert stage.state(request).status is Status.DISPATCHED
    stage.advance(HEARTBEAT_S)
    reconciles = stage.system.jobs.queue("reconcile", owner="ahead")
    jobs = await reconciles.claim(10)
    assert len(jobs) == 1
    await Reconciler(reconciles, ahead, new_metrics()).work(jobs)
    assert not stage.state(request).terminal
