"""From a request to its end with Gemini: lost responses and dead processes lead to no concurrent runs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from pydantic import SecretStr

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.pictures import drawn
from gengui_stream.fakes.scripts import read_script
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.worker.painter.rendering import Sketch
from schemas.events import GenerationDispatched, GenerationRequested, ProviderChoice
from tests.integration.projector.projecting import projecting
from tests.integration.role_process import environment
from tests.integration.running import a_request, eventually, logged, running, state_of

pytestmark = pytest.mark.stack

MODEL = "gemini-3.1-flash-image"


def script(rules: str, **fields: object) -> GeminiScript:
    made = read_script(GeminiScript, READY, f'{{"rules": [{rules}], "image_side_max": 64}}')
    return made.model_copy(update=fields)


@dataclass(frozen=True)
class Scene:
    settings: Settings
    pool: Pool
    log: EventLog
    server: GeminiServer

    async def request(self, prompt: str, **changes: object) -> GenerationRequested:
        request = a_request(prompt=prompt, provider="gemini", model=MODEL, **changes)
        await self.log.append(request)
        return request

    async def ends(self, request: GenerationRequested, status: Status, attempt: int = 1) -> Generation:
        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            return state if state and state.terminal else None

        state = await eventually(look)
        assert state is not None
        assert (state.status, state.attempt) == (status, attempt), state
        return state

    def attempts(self, request: GenerationRequested) -> list[int | None]:
        """The generations for which Gemini was called."""
        name = str(request.generation_id)
        return [call.attempt for call in self.server.calls if call.generation == name]

    async def dispatches(self, generation_id: UUID) -> list[GenerationDispatched]:
        events = await logged(self.settings)
        return [e for e in events if isinstance(e, GenerationDispatched) and e.generation_id == generation_id]


@asynccontextmanager
async def a_scene(
    settings: Settings, pool: Pool, log: EventLog, played: GeminiScript, **changes: object
) -> AsyncIterator[Scene]:
    """A running projector, and no dispatcher yet."""
    async with fake_gemini(played) as server:
        gemini = {"gemini_api_key": SecretStr("hunter2"), "gemini_base_url": server.url, "job_lease_s": 2.0}
        changed = settings.model_copy(update=gemini | changes)
        async with projecting(changed):
            yield Scene(changed, pool, log, server)
        assert server.overlaps == {}


async def test_each_comes_to_its_own_end(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    rules = """
        {"when": {"prompt": "knife"}, "then": "moderated"},
        {"when": {"prompt": "odd"}, "then": {"do": "error", "status": 400, "message": "hunter2 \\u0000 is odd"}},
        {"when": {"prompt": "shy", "nth_of_generation": 1}, "then": "no_image"},
        {"when": {"prompt": "busy", "nth_of_generation": 1}, "then": {"do": "error", "status": 429, "retry_delay": 1}},
        {"when": {"prompt": "many"}, "then": "several_images"}"""
    async with a_scene(settings, pool, event_log, script(rules)) as scene:
        async with running(run_dispatch, scene.settings), running(run_thumbnails, scene.settings):
            names = ("fox", "knife", "odd", "shy", "busy", "many")
            fox, knife, odd, shy, busy, many = [await scene.request(f"a {name}") for name in names]
            made = await scene.ends(fox, Status.COMPLETED)
            assert [(output.mime_type, output.width, output.height) for output in made.outputs] == [
                ("image/png", 43, 64)
            ]

            async def has_thumbnails() -> bool:
                state = await state_of(pool, many.generation_id)
                return state is not None and [bool(output.thumbnail) for output in state.outputs] == [True] * 3

            await eventually(has_thumbnails)
            moderated = await scene.ends(knife, Status.MODERATED)
            assert moderated.error is not None
            assert moderated.error.message == "the image was withheld: IMAGE_SAFETY: The image violates a policy."
            failed = await scene.ends(odd, Status.FAILED)
            assert failed.error is not None
            assert (failed.error.code, failed.error.message) == ("invalid_request", "Gemini: 400 UNKNOWN: … is odd")
            await scene.ends(shy, Status.COMPLETED, attempt=2)
            await scene.ends(busy, Status.COMPLETED)
        assert [scene.attempts(each) for each in (fox, knife, odd, many)] == [[1]] * 4, "none is asked for again"
        assert scene.attempts(shy) == [1, 2]
        assert scene.attempts(busy) == [1, 1], "nothing ran: the same attempt is made again"
        told = [event.model_dump_json() for event in await logged(scene.settings)]
        assert not [event for event in told if "hunter2" in event]


async def test_what_a_lost_call_made_is_found_and_what_it_did_not_make_is_made_again(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    rules = '{"when": {"nth_of_generation": 1}, "then": "reset_after_work"}'
    async with a_scene(settings, pool, event_log, script(rules), gemini_timeout_s=2.0) as scene:
        made, unmade = (a_request(provider="gemini", model=MODEL, prompt=prompt) for prompt in ("made", "unmade"))
        async with open_object_store(scene.settings) as store:  # as a process that died has left it
            picture = (await drawn(Sketch("made", 1, 64, 64), 64)).body
            await store.put(media_key(made.owner_id, made.generation_id, "image/png"), picture, "image/png")
        async with running(run_dispatch, scene.settings):
            await event_log.append_many([made, unmade])
            found = await scene.ends(made, Status.COMPLETED)
            assert [(output.id, output.mime_type, output.bytes) for output in found.outputs] == [
                ("0", "image/png", len(picture))
            ]
            await scene.ends(unmade, Status.COMPLETED, attempt=2)
        assert scene.attempts(made) == [1]
        assert scene.attempts(unmade) == [1, 2]


async def test_a_dispatcher_that_dies_in_mid_call_costs_one_attempt(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Gemini keeps working after the client disconnected: no other attempt may start before it stops."""
    rules = '{"when": {"nth": 1}, "then": "hang"}'
    async with a_scene(settings, pool, event_log, script(rules), gemini_timeout_s=2.0) as scene:
        request = await scene.request("a fox")
        doomed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gengui_stream.cli", "dispatch"),
            env=environment(scene.settings),
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def called() -> bool:
            return scene.attempts(request) == [1]

        await eventually(called)
        doomed.kill()
        await doomed.wait()
        async with running(run_dispatch, scene.settings):
            await scene.ends(request, Status.COMPLETED, attempt=2)
        assert scene.attempts(request) == [1, 2]
        first, second = scene.server.calls
        assert second.at - first.at >= 2.0, "the first had its time"


async def test_without_the_model_the_fallback_gets_it_and_the_event_has_the_reason(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    played = script("", models=("gemini-9",))
    async with a_scene(settings, pool, event_log, played, provider_fallbacks="local") as scene:
        async with running(run_dispatch, scene.settings):
            request = await scene.request("a fox", provider_choice=ProviderChoice(source="default"))

            async def moved() -> bool:
                state = await state_of(pool, request.generation_id)
                return state is not None and (state.provider, state.status) == ("local", Status.DISPATCHED)

            await eventually(moved)
        first, second = await scene.dispatches(request.generation_id)
        assert (first.attempt, first.provider, first.model, first.fallback_reason) == (1, "gemini", MODEL, None)
        assert (second.attempt, second.provider) == (2, "local")
        assert second.fallback_reason is not None
        assert "gemini: circuit open: misconfigured: provider_misconfigured: Gemini: 404" in second.fallback_reason
        assert scene.attempts(request) == [1]


async def test_without_the_model_and_without_another_provider_it_fails(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with a_scene(settings, pool, event_log, script("", models=("gemini-9",))) as scene:
        async with running(run_dispatch, scene.settings):
            request = await scene.request("a fox", max_attempts=2)
            failed = await scene.ends(request, Status.FAILED, attempt=2)
            assert failed.error is not None
            assert failed.error.code == "provider_misconfigured"
            late = await scene.request("a hen", max_attempts=1)
            await scene.ends(late, Status.FAILED)
        assert scene.attempts(request) == [1, 2]
