"""The dispatcher on the in-memory twins: what it announces, and whom it calls."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gengui_stream.dispatch import call_limiter
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    Canceled,
    DispatchRequest,
    FaultDomain,
    Finished,
    Moderated,
    Refused,
    Running,
)
from gengui_stream.testing.provider import ResponseLost
from schemas.events import GenerationCanceled, GenerationCancelRequested, Output
from tests.unit.jobs.stage import HEARTBEAT_S, IN_DOUBT_S, Stage

BUSY = Refused("busy", "too many requests", True, FaultDomain.CAPACITY, retry_after_s=120.0)
LEASE_S = 30.0
HALF_A_MINUTE = timedelta(seconds=30)


async def test_an_attempt_is_announced_before_its_provider_is_called() -> None:
    stage = Stage()
    request = await stage.request()
    seen: list[Status] = []

    async def look(called: DispatchRequest) -> None:
        seen.append(stage.state(request).status)

    stage.provider.during_dispatch = look
    await stage.process.work()
    assert seen == [Status.DISPATCHED]
    assert stage.types() == ["requested", "dispatched", "accepted"]
    assert stage.state(request).provider_job_id == stage.provider.runs[0].job_id
    assert stage.open_jobs() == ["reconcile"]


async def test_of_two_announcements_the_second_makes_no_call() -> None:
    """The first process lost its lease while it waited; both see the attempt queued."""
    stage = Stage()
    request = await stage.request()
    one, other = stage.process, stage.a_process("other")
    stage.system.projection.catch_up()
    stage.system.projection.paused = True
    first = asyncio.create_task(one.dispatch())
    await announced(stage, 1)
    stage.advance(LEASE_S)
    second = asyncio.create_task(other.dispatch())
    await announced(stage, 2)
    assert stage.provider.calls == [], "nothing is called before its announcement is projected"
    stage.system.projection.paused = False
    assert list(await asyncio.gather(first, second)) == [1, 1]
    assert len(stage.provider.calls) == 1
    assert stage.state(request).attempt == 1
    assert stage.open_jobs() == ["reconcile"]


async def announced(stage: Stage, number: int) -> None:
    """Until the log has that many announcements; the time-out of the test is the deadline."""
    while stage.types().count("dispatched") < number:
        await asyncio.sleep(0)


async def test_a_cancellation_before_the_announcement_makes_no_call() -> None:
    stage = Stage()
    request = await stage.request()
    stage.system.projection.catch_up()
    stage.system.projection.paused = True
    await stage.say(GenerationCancelRequested, request.generation_id)
    dispatching = asyncio.create_task(stage.process.dispatch())
    await announced(stage, 1)
    stage.system.projection.paused = False
    await dispatching
    assert stage.provider.calls == []
    assert stage.state(request).status is Status.CANCELED
    assert stage.open_jobs() == []


async def test_a_pause_that_the_provider_asks_for_holds_it_and_the_fallback_takes_over() -> None:
    stage = Stage()
    stage.provider.next_answers.append(BUSY)
    first = await stage.request()
    await stage.process.work()
    assert stage.state(first).attempt == 2
    second = await stage.request()
    stage.advance(5)
    await stage.process.work()
    assert [call.generation_id for call in stage.provider.calls] == [first.generation_id]
    called = {(call.generation_id, call.attempt) for call in stage.other.calls}
    assert called == {(first.generation_id, 2), (second.generation_id, 1)}
    stage.advance(120)
    third = await stage.request()
    await stage.process.dispatch()
    assert stage.provider.calls[-1].generation_id == third.generation_id


async def test_a_pinned_attempt_waits_for_its_provider() -> None:
    stage = Stage()
    stage.provider.next_answers.append(BUSY)
    request = await stage.request(provider_choice=None)
    await stage.process.work()
    stage.advance(60)
    await stage.process.dispatch()
    assert len(stage.provider.calls) == 1
    stage.advance(61)
    await stage.process.dispatch()
    assert [call.attempt for call in stage.provider.calls] == [1, 2]
    assert stage.other.calls == []
    assert stage.state(request).status is Status.DISPATCHED


async def test_a_call_in_doubt_is_not_repeated() -> None:
    stage = Stage()
    stage.provider.next_answers.append(ResponseLost())
    request = await stage.request()
    await stage.process.work()
    stage.advance(LEASE_S)
    assert await stage.process.dispatch() == 0
    assert len(stage.provider.calls) == 1
    assert stage.state(request).status is Status.DISPATCHED
    assert stage.open_jobs() == ["reconcile"]
    stage.advance(HEARTBEAT_S + IN_DOUBT_S)
    await stage.process.work()
    stage.advance(5)
    await stage.process.work()
    assert [call.attempt for call in stage.provider.calls] == [1, 2]


async def test_an_attempt_whose_process_dies_during_the_call_is_not_called_again() -> None:
    stage = Stage()
    request = await stage.request()
    calls = asyncio.Event()

    async def hang(called: DispatchRequest) -> None:
        calls.set()
        await asyncio.Event().wait()

    stage.provider.during_dispatch = hang
    dying = asyncio.create_task(stage.process.dispatch())
    await calls.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    stage.advance(LEASE_S)
    assert await stage.a_process("other").dispatch() == 1
    assert len(stage.provider.calls) == 1
    assert stage.state(request).status is Status.DISPATCHED
    assert stage.open_jobs() == ["reconcile"]


async def test_a_repeatable_call_in_doubt_is_repeated_and_starts_nothing_twice() -> None:
    stage = Stage(repeatable=True)
    stage.provider.next_answers.extend([ResponseLost(), TransientError("no answer")])
    request = await stage.request()
    for _ in range(3):
        await stage.process.dispatch()
        stage.advance(5)
    assert [call.attempt for call in stage.provider.calls] == [1, 1, 1]
    assert len(stage.provider.runs) == 1
    assert stage.state(request).status is Status.DISPATCHED
    assert stage.open_jobs() == ["reconcile"]


async def test_results_of_the_call_end_the_generation() -> None:
    stage = Stage()
    output = Output(object_key="a.png")
    stage.provider.next_answers.extend(
        [Finished((output,)), Moderated("not this"), Refused("too_large", "the image", retryable=False)]
    )
    requests = [await stage.request() for _ in range(3)]
    for _ in requests:
        await stage.process.dispatch()
    statuses = [stage.state(request).status for request in requests]
    assert sorted(statuses) == [Status.COMPLETED, Status.FAILED, Status.MODERATED]
    assert "dispatch" not in stage.open_jobs()


async def test_a_run_that_is_accepted_after_its_generation_ended_is_stopped() -> None:
    stage = Stage()
    request = await stage.request()

    async def end(called: DispatchRequest) -> None:
        await stage.say(GenerationCanceled, request.generation_id, attempt=1)

    stage.provider.during_dispatch = end
    await stage.process.work()
    [run] = stage.provider.runs
    assert isinstance(run.status, Canceled)
    assert {(job.provider_job_id, job.cancel_requested) for job in stage.provider.cancels} == {(run.job_id, True)}
    assert stage.state(request).status is Status.CANCELED


async def test_a_queued_generation_ends_at_its_deadline_without_a_call() -> None:
    stage = Stage()
    stage.provider.next_answers.append(BUSY)
    await stage.request(provider_choice=None)
    await stage.process.work()
    waiting = await stage.request(provider_choice=None, deadline=stage.system.clock.now() + HALF_A_MINUTE)
    await stage.process.work()
    stage.advance(31)
    await stage.process.work()
    state = stage.state(waiting)
    assert (state.status, state.attempt) == (Status.TIMED_OUT, 1)
    assert waiting.generation_id not in {call.generation_id for call in stage.provider.calls}


async def test_a_process_claims_no_more_than_it_can_call() -> None:
    stage = Stage()
    requests = [await stage.request() for _ in range(stage.provider.call_policy.max_concurrency + 5)]
    held = asyncio.Event()

    async def hold(called: DispatchRequest) -> None:
        await held.wait()

    stage.provider.during_dispatch = hold
    first = asyncio.create_task(stage.process.dispatch())
    while len(stage.provider.calls) < stage.provider.call_policy.max_concurrency:
        await asyncio.sleep(0)
    assert await stage.process.dispatch() == 0
    second = asyncio.create_task(stage.a_process("other").dispatch())
    while len(stage.provider.calls) < len(requests):
        await asyncio.sleep(0)
    held.set()
    assert list(await asyncio.gather(first, second)) == [stage.provider.call_policy.max_concurrency, 5]
    assert all(isinstance(run.status, Running) for run in stage.provider.runs)


async def test_an_attempt_that_waits_out_a_pause_ends_when_its_generation_is_canceled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_limiter, "LOOK_S", 0.01)
    stage = Stage()
    stage.provider.next_answers.append(replace(BUSY, retry_after_s=50.0))
    request = await stage.request(provider_choice=None)
    dispatching = asyncio.create_task(stage.process.dispatch())
    await called(stage, 1)
    await stage.say(GenerationCancelRequested, request.generation_id)
    async with asyncio.timeout(30):
        await dispatching
    assert stage.state(request).status is Status.CANCELED
    await stage.process.work()
    assert len(stage.provider.calls) == 1
    assert stage.provider.cancels == []


async def called(stage: Stage, number: int) -> None:
    while len(stage.provider.calls) < number:
        await asyncio.sleep(0)


async def test_a_second_process_learns_of_a_pause_without_a_call() -> None:
    stage = Stage()
    other = stage.a_process("other")
    stage.provider.next_answers.append(BUSY)
    await stage.request(provider_choice=None)
    await stage.process.dispatch()
    await stage.request(provider_choice=None)
    assert await other.dispatch() == 0
    assert len(stage.provider.calls) == 1
    stage.advance(121)
    await other.dispatch()
    assert len(stage.provider.calls) > 1
