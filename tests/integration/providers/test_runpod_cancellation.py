"""Cancel and delete at each stage of an attempt at RunPod, also while the projections are behind: a job that has begun
there is canceled there, and the state is `canceled` only once nothing runs any more."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, TypeAlias

import pytest

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import GenerationCanceled, GenerationCancelRequested, GenerationDeleted, GenerationRequested
from tests.integration.projector.projecting import projecting
from tests.integration.providers.runpod_scenes import KEY, living, with_runpod
from tests.integration.providers.test_runpod_dispatch import Scene
from tests.integration.running import eventually, logged, running, state_of

pytestmark = pytest.mark.stack

Change: TypeAlias = type[GenerationCancelRequested | GenerationDeleted]
Reach: TypeAlias = Callable[["Stage"], Awaitable[GenerationRequested]]
Moment: TypeAlias = tuple[Reach, dict[str, object], Literal["projected", "behind"]]
"""How the stage is reached, what RunPod's job does, and whether the projections have it when the change is appended."""

CALL_S: Final = 1.0
"""How long /run takes: the job begins at its end."""

HASTY: Final = {"runpod_silence_s": 2.0, "runpod_look_every_s": 0.5, "cancel_grace_s": 2.0}


class Stage(Scene):
    """The system with a fake RunPod, whose projector can pause. No dispatcher runs yet."""

    def __init__(self, settings: Settings, pool: Pool, log: EventLog, server: RunpodServer) -> None:
        super().__init__(settings, pool, log, server)
        self._projector = AsyncExitStack()
        self._dispatcher = AsyncExitStack()

    async def project(self) -> None:
        """Returns once every partition is live."""
        await self._projector.enter_async_context(projecting(self.settings))
        live = "SELECT count(*) = $1 FROM jobs.partition_owners WHERE valid_until > now()"
        await eventually(partial(self.pool.fetchval, live, self.settings.events_partitions))

    async def pause_projector(self) -> None:
        await self._projector.aclose()

    async def dispatch(self) -> None:
        await self._dispatcher.enter_async_context(running(run_dispatch, self.settings))

    async def close(self) -> None:
        await self._dispatcher.aclose()
        await self._projector.aclose()

    async def say(self, change: Change, request: GenerationRequested) -> None:
        common = {"id": new_id(), "generation_id": request.generation_id, "occurred_at": datetime.now(UTC)}
        await self.log.append(change.model_validate({**common, "producer": "test"}))

    async def has_logged(self, request: GenerationRequested, type_: str) -> None:
        async def look() -> bool:
            return type_ in await self.types(request)

        await eventually(look)

    async def ends_canceled(self, request: GenerationRequested) -> Generation:
        """Fails if the state says `canceled` while RunPod runs a job of the generation."""

        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            if state is None or not state.terminal:
                return None
            assert state.status is Status.CANCELED
            assert str(request.generation_id) not in self.server.runs.now
            return state

        state = await eventually(look)
        assert state is not None
        return state


@asynccontextmanager
async def opened(settings: Settings, pool: Pool, log: EventLog, **life: object) -> AsyncIterator[Stage]:
    async with fake_runpod(living(seconds=CALL_S, **life), settings=settings, key=KEY) as server:
        stage = Stage(with_runpod(settings, server.url, **HASTY), pool, log, server)
        try:
            await stage.project()
            yield stage
        finally:
            await stage.close()
        assert server.overlaps == {}


async def calling(stage: Stage) -> GenerationRequested:
    """RunPod has the call and has not begun a job."""
    request = await stage.request()

    async def is_called() -> bool:
        return bool(stage.server.calls_of("run"))

    await eventually(is_called)
    return request


async def accepted(stage: Stage) -> GenerationRequested:
    request = await stage.request()
    await stage.accepted(request)
    return request


async def processing(stage: Stage) -> GenerationRequested:
    request = await stage.request()
    await stage.reaches(request, Status.PROCESSING)
    return request


QUEUES: Final[dict[str, object]] = {"queue_s": 3_600}
RUNS: Final[dict[str, object]] = {"run_s": 3_600}


@pytest.mark.parametrize("change", [GenerationCancelRequested, GenerationDeleted])
@pytest.mark.parametrize(
    "moment",
    [
        (calling, QUEUES, "projected"),
        (calling, RUNS, "behind"),
        (accepted, QUEUES, "projected"),
        (accepted, QUEUES, "behind"),
        (processing, RUNS, "projected"),
        (processing, RUNS, "behind"),
    ],
    ids=lambda moment: f"{moment[0].__name__}-{moment[2]}",
)
async def test_what_was_started_is_canceled_at_the_provider(
    settings: Settings, pool: Pool, event_log: EventLog, moment: Moment, change: Change
) -> None:
    reach, life, projections = moment
    async with opened(settings, pool, event_log, **life) as stage:
        await stage.dispatch()
        request = await reach(stage)
        if projections == "behind":
            await stage.pause_projector()
        await stage.say(change, request)
        await stage.has_logged(request, "generation.accepted")
        if projections == "behind":
            await stage.project()
        state = await stage.ends_canceled(request)
        assert (state.deleted_at is not None) == (change is GenerationDeleted)
        await stage.settled()
        [run] = stage.server.calls_of("run")
        stops = [call for call in stage.server.calls_of("cancel") if call.job == state.provider_job_id]
        assert stops, "RunPod was asked to stop its job"
        [canceled] = {
            event.id: event for event in await logged(stage.settings) if isinstance(event, GenerationCanceled)
        }.values()
        epoch = time.time() - time.monotonic()
        assert canceled.occurred_at.timestamp() >= stops[0].at + epoch
        assert run.generation == str(request.generation_id)


@pytest.mark.parametrize("change", [GenerationCancelRequested, GenerationDeleted])
async def test_before_it_is_claimed_nothing_is_started(
    settings: Settings, pool: Pool, event_log: EventLog, change: Change
) -> None:
    async with opened(settings, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.QUEUED)
        await stage.say(change, request)
        await stage.ends_canceled(request)
        await stage.dispatch()
        await stage.settled()
        assert [call for call in stage.server.calls if call.operation != "health"] == []
        assert "generation.dispatched" not in await stage.types(request)


@pytest.mark.parametrize("change", [GenerationCancelRequested, GenerationDeleted])
async def test_between_claim_and_announcement_nothing_is_started(
    settings: Settings, pool: Pool, event_log: EventLog, change: Change
) -> None:
    """The dispatcher has claimed a state that the log has left behind."""
    async with opened(settings, pool, event_log) as stage:
        request = await stage.request()
        await stage.reaches(request, Status.QUEUED)
        await stage.pause_projector()
        await stage.say(change, request)
        await stage.dispatch()
        await stage.has_logged(request, "generation.dispatched")
        await stage.project()
        await stage.ends_canceled(request)
        await stage.settled()
        assert [call for call in stage.server.calls if call.operation != "health"] == []
