"""Jobs of the provider RunPod at a fake endpoint."""

from contextlib import AsyncExitStack

from gengui_stream.fakes.runpod.script import RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.providers.interface import (
    Dispatched,
    DispatchRequest,
    ProviderJob,
    Running,
    StatusOutcome,
)
from gengui_stream.providers.runpod.provider import RunpodProvider
from gengui_stream.settings import Settings
from tests.integration.providers.runpod_scenes import KEY, a_job, opened
from tests.integration.running import eventually


async def begun(provider: RunpodProvider, request: DispatchRequest) -> ProviderJob:
    answer = await provider.dispatch(request)
    assert isinstance(answer, Dispatched), answer
    return a_job(answer.provider_job_id, endpoint_id=answer.endpoint_id)


async def ended(provider: RunpodProvider, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
    """The status once the job no longer runs."""

    async def look() -> StatusOutcome | None:
        found = await provider.get_status(request, job)
        return None if isinstance(found, Running) else found

    found = await eventually(look)
    assert found is not None
    return found


class Stage(AsyncExitStack):
    """A fake with a script, and the provider that uses it."""

    server: RunpodServer
    provider: RunpodProvider

    async def begin(self, settings: Settings, script: RunpodScript, **changes: object) -> "Stage":
        self.server = await self.enter_async_context(fake_runpod(script, settings=settings, key=KEY))
        self.provider = await self.enter_async_context(opened(settings, self.server, **changes))
        return self


async def played(stack: AsyncExitStack, settings: Settings, script: RunpodScript, **changes: object) -> Stage:
    return await (await stack.enter_async_context(Stage())).begin(settings, script, **changes)
