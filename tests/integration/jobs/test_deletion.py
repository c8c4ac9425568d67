"""A deleted generation's objects go after the grace time, and those of others stay."""

from datetime import UTC, datetime

import pytest

from gengui_stream.domain.generation.state import Generation
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.media.store_errors import ObjectMissing
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.worker.painter.rendering import Sketch, encode_png, render
from schemas.events import GenerationCompleted, GenerationDeleted, Output
from tests.events import OWNER
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, running, state_of

pytestmark = pytest.mark.stack


async def test_objects_go_after_the_grace_time_and_a_foreign_key_stays(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    settings = settings.model_copy(update={"deletion_grace_s": 0.2})
    request = a_request(owner_id=OWNER)
    own, foreign = media_key(OWNER, request.generation_id, "image/png"), f"users/{OWNER}/media/other.png"
    picture = encode_png(render(Sketch("ocean", 1, 256, 256)))
    common = {"generation_id": request.generation_id, "occurred_at": datetime.now(UTC), "producer": "test"}

    async def with_thumbnails() -> Generation | None:
        state = await state_of(pool, request.generation_id)
        return state if state and state.outputs and all(output.thumbnail for output in state.outputs) else None

    async def without_outputs() -> Generation | None:
        state = await state_of(pool, request.generation_id)
        return state if state and not state.outputs else None

    async with open_object_store(settings) as store:
        for key in (own, foreign):
            await store.put(key, picture, "image/png")
        outputs = (Output(id="0", object_key=own), Output(id="1", object_key=foreign))
        async with projecting(settings), running(run_thumbnails, settings):
            completed = GenerationCompleted.model_validate({**common, "id": new_id(), "outputs": outputs})
            await event_log.append_many([request, completed])
            made = await eventually(with_thumbnails)
            assert made is not None
            await event_log.append(GenerationDeleted.model_validate({**common, "id": new_id()}))
            gone = await eventually(without_outputs)
        assert gone is not None
        assert gone.settled
        thumbnails = [output.thumbnail.object_key for output in made.outputs if output.thumbnail]
        assert [await exists(store, key) for key in (own, *thumbnails)] == [False, False, False]
        assert await exists(store, foreign)
    assert await pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'deletion'") == 0


async def exists(store: ObjectStore, key: str) -> bool:
    try:
        await store.get(key, 1_000_000)
    except ObjectMissing:
        return False
    return True
