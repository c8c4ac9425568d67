"""Thumbnail jobs end to end: log, rows, store, log."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from PIL import Image

from gengui_stream.domain.generation.state import Generation, ProviderPreference, Status, StoredOutput
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import ClaimedJob, PostgresJobQueue
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_keys import media_key, thumbnail_key
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.handler import ThumbnailJobs
from gengui_stream.thumbnails.role import limits_of, run_thumbnails
from gengui_stream.thumbnails.thumbnailer import (
    MISSING_TRIES,
    STORE_TRIES,
    NoThumbnail,
    NotYet,
    Thumbnailer,
)
from gengui_stream.worker.painter.rendering import Sketch, encode_png, render
from schemas.events import GenerationCompleted, GenerationRequested, Output
from tests.integration.following import running, state_of, until
from tests.integration.projector.projecting import projecting

pytestmark = pytest.mark.stack

OWNER = uuid4()


async def completed(log: EventLog, *keys: str) -> UUID:
    """A generation that ended with these outputs."""
    generation_id, now = new_id(), datetime.now(UTC)
    requested = GenerationRequested(
        id=new_id(), generation_id=generation_id, occurred_at=now, producer="test", owner_id=OWNER, prompt="ocean",
        seed=1, width=512, height=256, model="m", provider="local",
    )  # fmt: skip
    outputs = tuple(Output(id=str(index), object_key=key) for index, key in enumerate(keys))
    ended = GenerationCompleted(
        id=new_id(), generation_id=generation_id, attempt=1, occurred_at=now, producer="test", outputs=outputs
    )
    await log.append_many([requested, ended])
    return generation_id


async def settled(pool: Pool, generation_id: UUID) -> Generation | None:
    """The generation, once every output has its thumbnail or the reason why not."""
    state = await state_of(pool, generation_id)
    done = state is not None and state.outputs and all(o.thumbnail or o.thumbnail_error for o in state.outputs)
    return state if done else None


async def test_every_output_gets_its_thumbnail_or_a_reason(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with open_object_store(settings) as store, projecting(settings), running(run_thumbnails, settings):
        await store.put("good.png", encode_png(render(Sketch("ocean", 1, 512, 256))), "image/png")
        await store.put("broken.png", b"\x89PNG\r\n\x1a\n and no more", "image/png")
        generation_id = await completed(event_log, "good.png", "broken.png")
        state = await until(lambda: settled(pool, generation_id))
        assert state is not None
        good, broken = state.outputs
        assert (state.status, broken.thumbnail, broken.thumbnail_error) == (Status.COMPLETED, None, "unreadable")
        assert good.thumbnail is not None
        assert (good.thumbnail.width, good.thumbnail.height, good.thumbnail.mime_type) == (128, 64, "image/webp")
        assert good.thumbnail.object_key == thumbnail_key(OWNER, generation_id, "image/webp")
        body = await store.get(good.thumbnail.object_key, 100_000)
        assert len(body) == good.thumbnail.bytes
        assert Image.open(io.BytesIO(body)).format == "WEBP"


async def test_two_processes_share_the_jobs_and_each_is_done_once(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with (
        open_object_store(settings) as store,
        projecting(settings),
        running(run_thumbnails, settings),
        running(run_thumbnails, settings),
    ):
        await store.put("one.png", encode_png(render(Sketch("fire", 1, 256, 256))), "image/png")
        ids = [await completed(event_log, "one.png") for _ in range(12)]
        for generation_id in ids:
            await until(partial(settled, pool, generation_id))
        counted = await pool.fetchval("SELECT count(*) FROM projections.timeline WHERE type = 'thumbnail.created'")
        assert counted == len(ids)


def jobs_of(
    settings: Settings, pool: Pool, log: EventLog, store: ObjectStore, queue: PostgresJobQueue
) -> ThumbnailJobs:
    thumbnailer = Thumbnailer(store, ThreadPoolExecutor(1), limits_of(settings), new_metrics())
    return ThumbnailJobs(
        queue, thumbnailer=thumbnailer, pool=pool, log=log, metrics=new_metrics(), stop=asyncio.Event()
    )


async def test_a_lease_that_ran_out_is_taken_over_and_the_late_one_does_no_harm(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with open_object_store(settings) as store, projecting(settings):
        await store.put("one.png", encode_png(render(Sketch("fire", 1, 256, 256))), "image/png")
        generation_id = await completed(event_log, "one.png")
        lost = PostgresJobQueue(pool, "thumbnail", owner="lost", lease_seconds=30)
        other = PostgresJobQueue(pool, "thumbnail", owner="other", lease_seconds=30)
        [held] = await until(lambda: lost.claim(1))
        assert await other.claim(1) == [], "another owner holds the lease"
        await pool.execute("UPDATE jobs.jobs SET leased_until = now()")  # the lease ran out
        [taken] = await until(lambda: other.claim(1))
        assert (taken.key, taken.tries) == (held.key, 2)
        await jobs_of(settings, pool, event_log, store, other).work([taken])
        state = await until(lambda: settled(pool, generation_id))
        await jobs_of(settings, pool, event_log, store, lost).work([held])  # it was only slow
        assert not await pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE job_key = $1", held.key)
        assert await state_of(pool, generation_id) == state


async def test_tries_are_bounded(settings: Settings) -> None:
    now = datetime.now(UTC)
    job = ClaimedJob("k", "thumbnail", new_id(), 1, "0", 1, expedited=False, claimed_at=now)
    output = StoredOutput("0", "nothing/there.png", None, None, None, None, None)
    state = Generation(
        generation_id=job.generation_id, owner_id=OWNER, model="m", provider="p", max_attempts=1, deadline=None,
        requested_at=now, preference=ProviderPreference("p", "m", pinned=True), outputs=(output,),
    )  # fmt: skip
    away = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    threads = ThreadPoolExecutor(1)
    async with open_object_store(settings) as here, open_object_store(away) as nowhere:
        missing = Thumbnailer(here, threads, limits_of(settings), new_metrics())
        unreachable = Thumbnailer(nowhere, threads, limits_of(settings), new_metrics())
        for thumbnailer, tries, reason in [
            (missing, MISSING_TRIES, "object_missing"),
            (unreachable, STORE_TRIES, "store_unavailable"),
            (missing, STORE_TRIES + 1, "gave_up"),
        ]:
            last = await thumbnailer.result(replace(job, tries=tries), state, output)
            assert isinstance(last, NoThumbnail)
            assert last.reason == reason
            first = await thumbnailer.result(job, state, output)
            assert isinstance(first, NotYet)


async def test_an_object_that_comes_late_is_waited_for(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with open_object_store(settings) as store, projecting(settings), running(run_thumbnails, settings):
        generation_id = await completed(event_log, media_key(OWNER, UUID(int=0), "image/png"))

        async def rescheduled() -> object:
            return await pool.fetchval("SELECT last_error FROM jobs.jobs WHERE last_error LIKE 'object_missing%'")

        await until(rescheduled)
        await store.put(media_key(OWNER, UUID(int=0), "image/png"), encode_png(render(Sketch("ice", 1, 64, 64))), "x/y")
        state = await until(lambda: settled(pool, generation_id))
        assert state is not None
        assert state.outputs[0].thumbnail is not None
