"""Runs at a provider that no state knows: each is canceled as soon as the log has its id."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.providers.interface import Canceled, Finished, Running
from gengui_stream.testing.provider import ENDPOINT, ProviderRun, ResponseLost
from schemas.events import (
    GenerationAccepted,
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationRequested,
    GenerationRetried,
    GenerationTimedOut,
    Output,
)
from tests.unit.jobs.stage import Stage

LOST = {"code": "lost", "message": "the connection was lost", "retryable": True}


async def accepted(stage: Stage, run: ProviderRun) -> None:
    """The event of a process that crashed once it had appended it, or that another process delayed."""
    where = {"provider": "first", "provider_job_id": run.job_id, "endpoint_id": ENDPOINT}
    await stage.say(GenerationAccepted, run.request.generation_id, attempt=run.request.attempt, **where)


async def with_an_unknown_run(stage: Stage) -> tuple[GenerationRequested, ProviderRun]:
    """Its attempt is dispatched, and the log does not have its id."""
    stage.provider.next_answers.append(ResponseLost())
    request = await stage.request()
    await stage.process.dispatch()
    return request, stage.provider.runs[0]


async def canceled(stage: Stage, request: GenerationRequested) -> None:
    await stage.say(GenerationCanceled, request.generation_id, attempt=1)


async def timed_out(stage: Stage, request: GenerationRequested) -> None:
    await stage.say(GenerationTimedOut, request.generation_id, attempt=1, reason="late")


async def superseded(stage: Stage, request: GenerationRequested) -> None:
    await stage.say(GenerationRetried, request.generation_id, attempt=1, reason="silent")


async def failed_and_superseded(stage: Stage, request: GenerationRequested) -> None:
    await stage.say(GenerationFailed, request.generation_id, attempt=1, error=LOST)


@pytest.mark.parametrize(
    "ends", [canceled, timed_out, superseded, failed_and_superseded], ids=lambda ends: ends.__name__
)
async def test_a_run_whose_id_comes_after_its_attempt_was_given_up_is_canceled(
    ends: Callable[[Stage, GenerationRequested], Awaitable[None]],
) -> None:
    stage = Stage()
    request, run = await with_an_unknown_run(stage)
    await ends(stage, request)
    await stage.process.cancel()
    assert isinstance(run.status, Running), "no id to cancel by"
    await accepted(stage, run)
    before = stage.state(request)
    assert await stage.process.cancel() == 1
    assert isinstance(run.status, Canceled)
    assert stage.state(request) == before
    assert "cancel" not in stage.open_jobs()


async def test_the_run_of_an_attempt_that_was_given_up_is_canceled_and_the_next_one_is_not() -> None:
    stage = Stage()
    request = await stage.request()
    await stage.process.work()
    await superseded(stage, request)
    stage.advance(60)
    await stage.process.dispatch()
    await stage.process.cancel()
    first, second = stage.provider.runs
    assert isinstance(first.status, Canceled)
    assert isinstance(second.status, Running)
    assert stage.state(request).status is Status.DISPATCHED


async def test_it_is_repeated_until_the_provider_has_it() -> None:
    stage = Stage()
    request, run = await with_an_unknown_run(stage)
    await canceled(stage, request)
    await accepted(stage, run)
    stage.provider.available = False
    await stage.process.cancel()
    assert "cancel" in stage.open_jobs()
    stage.provider.available = True
    stage.advance(15)
    await stage.process.cancel()
    assert isinstance(run.status, Canceled)


async def test_a_run_that_is_known_or_has_ended_the_generation_is_left_alone() -> None:
    """Its event is appended again, or its worker is faster than the process that dispatched it."""
    stage = Stage()
    known = await stage.request()
    await stage.process.work()
    await accepted(stage, stage.provider.runs[0])
    assert stage.state(known).status is Status.DISPATCHED
    stage.provider.next_answers.append(ResponseLost())
    fast = await stage.request()
    await stage.process.dispatch()
    output = Output(object_key="a.png")
    stage.provider.runs[1].status = Finished((output,))
    await stage.say(GenerationCompleted, fast.generation_id, attempt=1, outputs=[output])
    await accepted(stage, stage.provider.runs[1])
    assert await stage.process.cancel() == 0
    assert stage.provider.cancels == []


async def test_the_second_run_of_one_attempt_is_canceled() -> None:
    """A process that lost its lease called as well."""
    stage = Stage()
    await stage.request()
    await stage.process.work()
    [run] = stage.provider.runs
    second = ProviderRun(run.request, "job-2")
    stage.provider.runs.append(second)
    await accepted(stage, second)
    assert await stage.process.cancel() == 1
    assert isinstance(second.status, Canceled)
    assert isinstance(run.status, Running)


async def test_a_deadline_ends_a_generation_whose_late_run_is_then_canceled() -> None:
    stage = Stage()
    stage.provider.next_answers.append(ResponseLost())
    request = await stage.request(deadline=stage.system.clock.now() + timedelta(seconds=10))
    await stage.process.dispatch()
    stage.advance(11)
    await stage.process.reconcile()
    assert stage.state(request).status is Status.TIMED_OUT
    await accepted(stage, stage.provider.runs[0])
    await stage.process.work()
    assert isinstance(stage.provider.runs[0].status, Canceled)
