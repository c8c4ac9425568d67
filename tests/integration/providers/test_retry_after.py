"""A pause that a provider asks for holds that provider, up to the deadline, and no healthy fallback."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.calls import Call
from gengui_stream.fakes.runpod.script import READY, RunpodScript
from gengui_stream.fakes.scripts import read_script
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import GenerationDispatched, GenerationRequested, ProviderChoice
from tests.integration.providers.test_runpod_dispatch import Scene, scene
from tests.integration.running import eventually, logged, running

pytestmark = pytest.mark.stack


def busy(seconds: float, calls: int = 1) -> RunpodScript:
    """The first calls are refused with this Retry-After."""
    refused = f'{{"do": "error", "status": 429, "message": "busy", "retry_after": {seconds}}}'
    nth = ", ".join(map(str, range(1, calls + 1)))
    return read_script(
        RunpodScript, READY, f'{{"rules": [{{"when": {{"nth": [{nth}]}}, "then": {refused}}}], "image_side_max": 64}}'
    )


def calls_for(stage: Scene, request: GenerationRequested) -> Sequence[Call]:
    return [call for call in stage.server.calls_of("run") if call.generation == str(request.generation_id)]


async def refused_once(stage: Scene) -> None:
    async def look() -> bool:
        return any(call.status == 429 for call in stage.server.calls_of("run"))

    await eventually(look)


async def test_no_pinned_generation_calls_before_the_pause_ends(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Nor from another process, which has made no call yet."""
    async with scene(settings, pool, event_log, busy(2.0)) as stage, running(run_dispatch, stage.settings):
        first = await stage.request()
        await refused_once(stage)
        await eventually(partial(pool.fetchval, "SELECT count(*) FROM jobs.provider_pauses"))
        others = [await stage.request() for _ in range(3)]
        for request in (first, *others):
            await stage.reaches(request, Status.COMPLETED)
        refused, *later = stage.server.calls_of("run")
        assert len(later) == 4
        assert min(call.at for call in later) >= refused.at + 2.0


@pytest.mark.parametrize("seconds", [30, 600])
async def test_a_pinned_generation_times_out_at_its_deadline_if_the_pause_is_longer(
    settings: Settings, pool: Pool, event_log: EventLog, seconds: float
) -> None:
    async with scene(settings, pool, event_log, busy(seconds)) as stage:
        deadline = datetime.now(UTC) + timedelta(seconds=4)
        request = await stage.request(deadline=deadline)
        state = await stage.reaches(request, Status.TIMED_OUT)
        assert state.ended_at is not None
        assert timedelta() <= state.ended_at - deadline < timedelta(seconds=5)
        assert len(calls_for(stage, request)) == 1


@pytest.mark.parametrize("seconds", [30, 600])
async def test_an_unpinned_generation_goes_to_a_healthy_fallback_at_once(
    settings: Settings, pool: Pool, event_log: EventLog, seconds: float
) -> None:
    async with scene(settings, pool, event_log, busy(seconds), provider_fallbacks="local") as stage:
        first = await stage.request(provider_choice=ProviderChoice(source="default"))
        await stage.reaches(first, Status.DISPATCHED, attempt=2)
        second = await stage.request(provider_choice=ProviderChoice(source="default"))
        await stage.reaches(second, Status.DISPATCHED)
        for request in (first, second):
            announced = [
                event
                for event in await logged(stage.settings)
                if isinstance(event, GenerationDispatched) and event.generation_id == request.generation_id
            ]
            assert announced[-1].provider in {"local", "runpod"}
            for one, next_ in pairwise(announced):
                assert next_.occurred_at - one.occurred_at < timedelta(seconds=5)
        assert (await stage.reaches(first, Status.DISPATCHED, attempt=2)).provider == "local"
