"""From a request to RunPod and to its end: agents, dispatch and the fake, through real servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import aiohttp
import pytest
from pydantic import SecretStr

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.fakes.runpod.script import READY, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.fakes.scripts import read_script
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import (
    GenerationAccepted,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationRequested,
    Output,
    ProviderChoice,
)
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.providers.runpod_scenes import KEY, SECRET, living, small, with_runpod
from tests.integration.running import a_request, eventually, logged, running, state_of

pytestmark = pytest.mark.stack


class Scene:
    """The system with a fake RunPod."""

    def __init__(self, settings: Settings, pool: Pool, log: EventLog, server: RunpodServer) -> None:
        self.settings, self.pool, self.log, self.server = settings, pool, log, server

    async def request(self, **changes: object) -> GenerationRequested:
        request = a_request(**{"provider": "runpod", "model": "zit-basic", "width": 256, "height": 256, **changes})
        await self.log.append(request)
        return request

    async def reaches(self, request: GenerationRequested, *wanted: Status, attempt: int = 1) -> Generation:
        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            return state if state and state.status in wanted and state.attempt >= attempt else None

        state = await eventually(look)
        assert state is not None
        return state

    async def accepted(self, request: GenerationRequested) -> Generation:
        """Returns once the log has the RunPod job of the attempt."""

        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            return state if state and state.provider_job_id else None

        state = await eventually(look)
        assert state is not None
        return state

    async def cancel(self, request: GenerationRequested) -> None:
        common = {"id": new_id(), "generation_id": request.generation_id, "occurred_at": datetime.now(UTC)}
        await self.log.append(GenerationCancelRequested.model_validate({**common, "producer": "test"}))

    async def types(self, request: GenerationRequested) -> list[str]:
        events = await logged(self.settings)
        return [event.type for event in events if event.generation_id == request.generation_id]

    async def settled(self) -> None:
        """No job is open."""
        open_jobs = "SELECT count(*) = 0 FROM jobs.jobs WHERE kind <> 'thumbnail'"
        await eventually(partial(self.pool.fetchval, open_jobs))


@asynccontextmanager
async def scene(
    settings: Settings,
    pool: Pool,
    log: EventLog,
    script: RunpodScript,
    *,
    dispatchers: int = 1,
    webhooks: bool = False,
    metrics: Metrics | None = None,
    **changes: object,
) -> AsyncIterator[Scene]:
    """With short time-outs, unless `changes` override them."""
    hasty = {"runpod_silence_s": 1.0, "runpod_look_every_s": 0.5, "runpod_call_timeout_s": 2.0, "cancel_grace_s": 2.0}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fake_runpod(script, settings=settings, key=KEY))
        made = with_runpod(settings, server.url, **{**hasty, **changes})
        await stack.enter_async_context(projecting(made))
        if webhooks:
            made = made.model_copy(update={"webhook_secret": SecretStr(SECRET)})
            session = await stack.enter_async_context(aiohttp.ClientSession())
            url = await stack.enter_async_context(serving(made, session))
            made = made.model_copy(update={"public_url": url})
        for _ in range(dispatchers):
            await stack.enter_async_context(running(run_dispatch, made, metrics))
        yield Scene(made, pool, log, server)
        assert server.overlaps == {}


async def test_a_webhook_brings_the_result_long_before_the_poll_interval(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    script = living(queue_s=0.5, webhooks=3, forged=("wrong_token", "unknown_job", "premature", "finished_job"))
    async with scene(settings, pool, event_log, script, webhooks=True, runpod_silence_s=600.0) as stage:
        request = await stage.request()
        state = await stage.reaches(request, Status.COMPLETED)
        assert state.attempt == 1
        assert state.provider_job_id in {call.job for call in stage.server.calls_of("status")}
        await stage.settled()

        async def told() -> bool:
            return len(stage.server.deliveries) == 7

        await eventually(told)
        answers = {(delivery.kind, delivery.status) for delivery in stage.server.deliveries}
        assert ("wrong_token", 404) in answers
        assert {status for kind, status in answers if kind != "wrong_token"} == {200}
        assert (await stage.reaches(request, Status.COMPLETED)).version == state.version, "late and forged: ignored"
    ends = [event.id for event in await logged(settings) if isinstance(event, GenerationCompleted)]
    assert len(set(ends)) == 1, "said again, perhaps, but the same thing"


async def test_without_webhooks_it_is_found_by_looking(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    metrics = new_metrics()
    async with scene(settings, pool, event_log, living(run_s=2), metrics=metrics) as stage:
        requests = [await stage.request() for _ in range(10)]
        for request in requests:
            state = await stage.reaches(request, Status.COMPLETED)
            assert (state.attempt, state.endpoint_id) == (1, "e1")
            assert state.started_at is not None
            assert state.ended_at is not None
            assert timedelta(seconds=2) <= state.ended_at - state.started_at < timedelta(seconds=10)
            assert state.outputs[0].width == 64
        await stage.settled()
        found = [event for event in await logged(settings) if isinstance(event, GenerationAccepted)]
        assert len({event.provider_job_id for event in found}) == 10
    assert reconciled(metrics, "recovered") == 10
    assert reconciled(metrics, "stuck") >= 10
    assert metrics.registry.get_sample_value("gengui_provider_call_seconds_count", {"provider": "runpod"}) == 10


async def test_a_job_that_is_lost_at_its_ttl_is_retried_and_done(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """It would run forever; RunPod forgets it. The image of the second attempt is made."""
    rules = '{"rules": [{"when": {"attempt": 1}, "then": "lost"}], "image_side_max": 64}'
    metrics, script = new_metrics(), read_script(RunpodScript, READY, rules)
    async with scene(settings, pool, event_log, script, metrics=metrics) as stage:
        began = datetime.now(UTC)
        request = await stage.request()
        await stage.reaches(request, Status.COMPLETED, attempt=2)
        [retried] = [event for event in await logged(settings) if event.type == "generation.retried"]
        assert retried.occurred_at - began < timedelta(seconds=27)
        await stage.settled()
    assert "generation.retried" in await stage.types(request)
    assert reconciled(metrics, "retried") == 1
    assert reconciled(metrics, "gave_up") == 0


def reconciled(metrics: Metrics, finding: str) -> float:
    labels = {"provider": "runpod", "finding": finding}
    return metrics.registry.get_sample_value("gengui_reconciled_total", labels) or 0


async def test_a_call_whose_answer_was_lost_begins_nothing_twice(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    rules = '{"rules": [{"times": 1, "then": "reset_after_work"}], "image_side_max": 64}'
    async with scene(settings, pool, event_log, read_script(RunpodScript, READY, rules)) as stage:
        request = await stage.request()
        assert (await stage.reaches(request, Status.COMPLETED)).attempt == 1
        assert len(stage.server.calls_of("run")) == 1


async def test_two_dispatchers_run_nothing_twice(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    rules = """{"rules": [{"when": {"nth": [3, 9]}, "then": "rate_limited_silent"},
        {"when": {"nth": [5, 11]}, "then": "failed"}, {"when": {"nth": 7}, "then": "internal"}],
        "image_side_max": 64}"""
    async with scene(settings, pool, event_log, read_script(RunpodScript, READY, rules), dispatchers=2) as stage:
        requests = [a_request(provider="runpod", model="zit-basic", width=256, height=256) for _ in range(40)]
        await event_log.append_many(requests)
        for request in requests:
            await stage.reaches(request, Status.COMPLETED)
        await stage.settled()
        assert len(stage.server.calls_of("run")) == 40 + 5


async def test_cancels_at_each_stage(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with scene(settings, pool, event_log, living(queue_s=3_600)) as stage:
        queued = await stage.request()
        await stage.accepted(queued)
        await stage.cancel(queued)
        await stage.reaches(queued, Status.CANCELED)
        stage.server.play(living(run_s=3_600))
        run = await stage.request()
        await stage.reaches(run, Status.PROCESSING)
        await stage.cancel(run)
        await stage.reaches(run, Status.CANCELED)
        assert stage.server.runs.now == {}
        stage.server.play(living(run_s=1))
        crossed = [await stage.request() for _ in range(6)]
        for request in crossed:
            await stage.accepted(request)
            await stage.cancel(request)
        for request in crossed:
            await stage.reaches(request, Status.CANCELED, Status.COMPLETED)
        await stage.settled()


async def test_a_result_after_a_cancel_is_evidence_and_ignored(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """RunPod reports a cancellation, but the worker continues and reports a result."""
    script = living(queue_s=2).model_copy(update={"rules": read_script(RunpodScript, READY, "cancel_ignored").rules})
    async with scene(settings, pool, event_log, script, webhooks=True) as stage:
        request = await stage.request()
        await stage.accepted(request)
        await stage.cancel(request)
        state = await stage.reaches(request, Status.CANCELED)

        async def told() -> bool:
            return [delivery.status for delivery in stage.server.deliveries] == [200]

        await eventually(told)
        late = {"id": new_id(), "generation_id": request.generation_id, "attempt": 1, "producer": "test"}
        done = {**late, "occurred_at": datetime.now(UTC), "outputs": (Output(object_key="late.png"),)}
        await event_log.append(GenerationCompleted.model_validate(done))
        ignored = "SELECT ignored FROM projections.timeline WHERE generation_id = $1 AND type = 'generation.completed'"
        assert await eventually(partial(pool.fetchval, ignored, request.generation_id)) == "terminal"
        assert await state_of(pool, request.generation_id) == state
        await stage.settled()


async def test_the_endpoint_may_change_while_a_job_runs(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    script = living(run_s=4)
    async with scene(settings, pool, event_log, script, dispatchers=0) as stage:
        async with running(run_dispatch, stage.settings):
            request = await stage.request()
            assert (await stage.accepted(request)).endpoint_id == "e1"
        moved = stage.settings.model_copy(update={"runpod_endpoint_id": "e2"})
        async with running(run_dispatch, moved):
            assert (await stage.reaches(request, Status.COMPLETED)).attempt == 1
            other = await stage.request()
            assert (await stage.accepted(other)).endpoint_id == "e2"
            await stage.reaches(other, Status.COMPLETED)


async def test_a_crash_loop_sends_the_next_attempt_elsewhere(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    metrics = new_metrics()
    script = living(queue_s=3_600, workers="crashing")
    async with scene(settings, pool, event_log, script, metrics=metrics, provider_fallbacks="local") as stage:
        request = await stage.request(provider_choice=ProviderChoice(source="default"))
        state = await stage.reaches(request, Status.DISPATCHED, attempt=2)
        assert (state.attempt, state.provider) == (2, "local")
        assert stage.server.runs.now == {}
        circuit = {"provider": "runpod", "model": "zit-basic"}
        assert metrics.registry.get_sample_value("gengui_circuit_state", circuit) == 2.0


async def test_when_every_attempt_fails_the_reason_has_no_traceback(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(settings, pool, event_log, small("failed")) as stage:
        request = await stage.request(max_attempts=2)
        state = await stage.reaches(request, Status.FAILED)
        assert state.error is not None
        assert (state.attempt, state.error.code, state.error.message) == (2, "worker_failed", "CUDA out of memory.")
