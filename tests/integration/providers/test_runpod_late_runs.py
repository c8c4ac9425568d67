"""Jobs at RunPod that no state knows: none runs on once the log has its id."""

from datetime import UTC, datetime
from functools import partial

import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.interface import Dispatched, DispatchRequest
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import (
    Event,
    GenerationAccepted,
    GenerationCanceled,
    GenerationDispatched,
    GenerationRequested,
    GenerationRetried,
)
from tests.integration.providers import runpod_scenes
from tests.integration.providers.test_runpod_cancellation import RUNS, Stage, opened, processing
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def say(stage: Stage, kind: type[Event], request: GenerationRequested, **fields: object) -> None:
    common = {"id": new_id(), "generation_id": request.generation_id, "occurred_at": datetime.now(UTC), "attempt": 1}
    await stage.log.append(kind.model_validate({**common, "producer": "test", **fields}))


async def submitted(stage: Stage, request: GenerationRequested) -> Dispatched:
    """By a process that ends before it has recorded the id."""
    named = DispatchRequest(
        generation_id=request.generation_id,
        owner_id=request.owner_id,
        attempt=1,
        prompt=request.prompt,
        seed=request.seed,
        width=request.width,
        height=request.height,
        model=request.model,
        deadline=None,
        correlation_id=None,
        traceparent=None,
    )
    async with runpod_scenes.opened(stage.settings, stage.server) as provider:
        answer = await provider.dispatch(named)
    assert isinstance(answer, Dispatched)
    return answer


async def runs(stage: Stage, request: GenerationRequested, number: int) -> None:
    """Until RunPod runs so many jobs of the generation."""

    async def look() -> bool:
        return stage.server.runs.now.get(str(request.generation_id), 0) == number

    await eventually(look)


async def test_a_job_whose_id_comes_after_the_end_of_its_generation_is_canceled(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with opened(settings, pool, event_log, **RUNS) as stage:
        request = await stage.request()
        await say(stage, GenerationDispatched, request, provider="runpod")
        answer = await submitted(stage, request)
        await say(stage, GenerationCanceled, request)
        await stage.reaches(request, Status.CANCELED)
        await runs(stage, request, 1)
        where = {"provider_job_id": answer.provider_job_id, "endpoint_id": answer.endpoint_id}
        await say(stage, GenerationAccepted, request, provider="runpod", **where)
        kept = "SELECT count(*) = 1 FROM jobs.jobs WHERE kind = 'cancel' AND run_job_id = $1"
        await eventually(partial(pool.fetchval, kept, answer.provider_job_id))
        report = await verify(stage.settings)
        assert report.agrees, report.samples
        await stage.dispatch()
        await runs(stage, request, 0)
        await stage.settled()
        assert [call.job for call in stage.server.calls_of("cancel")].count(answer.provider_job_id) == 1


async def test_the_job_of_an_attempt_that_was_given_up_is_canceled(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with opened(settings, pool, event_log, **RUNS) as stage:
        await stage.dispatch()
        request = await processing(stage)
        first = await stage.accepted(request)
        await say(stage, GenerationRetried, request, reason="silent")
        await stage.reaches(request, Status.PROCESSING, attempt=2)
        assert first.provider_job_id in {call.job for call in stage.server.calls_of("cancel")}
        await runs(stage, request, 1)
        await stage.cancel(request)
        await runs(stage, request, 0)
