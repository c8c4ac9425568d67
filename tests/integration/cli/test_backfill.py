"""`backfill-thumbnails`: requests become events, events become jobs, jobs become thumbnails."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.worker.painter.rendering import Sketch, encode_png, render
from schemas.events import GenerationCompleted, GenerationDeleted, Output, ThumbnailRequested
from tests.integration.commands import command
from tests.integration.following import running, state_of, until
from tests.integration.projector.projecting import projecting
from tests.integration.role_process import environment
from tests.integration.running import a_request, logged

pytestmark = pytest.mark.stack

PICTURE: Final = encode_png(render(Sketch("ocean", 1, 256, 256)))
JOBS: Final = "SELECT job_key FROM jobs.jobs WHERE kind = 'thumbnail' ORDER BY job_key"


async def completed(log: EventLog, *keys: str) -> UUID:
    """A generation that ended with these outputs."""
    request = a_request()
    outputs = tuple(Output(id=str(index), object_key=key) for index, key in enumerate(keys))
    end = GenerationCompleted(
        id=new_id(),
        generation_id=request.generation_id,
        attempt=1,
        occurred_at=datetime.now(UTC),
        producer="test",
        outputs=outputs,
    )
    await log.append_many([request, end])
    return request.generation_id


async def backfill(settings: Settings, *arguments: str) -> Any:
    ran = await command(settings, "backfill-thumbnails", "--json", *arguments)
    assert ran.code == 0, ran.err
    return ran.document


async def answered(pool: Pool, generation_id: UUID, revision: int) -> Sequence[StoredOutput]:
    """The outputs, once the thumbnail of that revision is made, or cannot be, for each of them."""

    async def found() -> Generation | None:
        state = await state_of(pool, generation_id)
        done = state and all(not o.open and o.thumbnail_revision == revision for o in state.outputs)
        return state if done else None

    state = await until(found)
    assert state is not None
    return state.outputs


async def test_what_has_no_thumbnail_gets_one_and_what_has_one_is_left_alone(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with open_object_store(settings) as store, projecting(settings), running(run_thumbnails, settings):
        await store.put("good.png", PICTURE, "image/png")
        await store.put("broken.png", b"no image", "image/png")
        good, broken = await completed(event_log, "good.png"), await completed(event_log, "good.png", "broken.png")
        [_, output] = await answered(pool, broken, 1) if await answered(pool, good, 1) else ()
        assert output.thumbnail_error is not None
        await store.put("broken.png", PICTURE, "image/png")  # it was repaired

        assert await backfill(settings, "--dry-run") == {
            "generations": 1, "requested": 1, "pending": 0, "last": str(broken), "dry_run": True,
            "finished": True,
        }  # fmt: skip
        assert (await backfill(settings))["requested"] == 1

        async def repaired() -> StoredOutput | None:
            state = await state_of(pool, broken)
            return next((o for o in state.outputs if o.id == "1" and o.thumbnail), None) if state else None

        mended = await until(repaired)
        assert mended is not None
        assert (mended.thumbnail_revision, mended.thumbnail_error) == (2, None)
        assert await backfill(settings) == {
            "generations": 0, "requested": 0, "pending": 0, "last": None, "dry_run": False, "finished": True,
        }  # fmt: skip
        [once] = [event for event in await logged(settings) if isinstance(event, ThumbnailRequested)]
        assert (once.generation_id, once.output_id) == (broken, "1")
        shown = (await command(settings, "events", "show", str(broken))).out
        assert "thumbnail.requested" in shown
        report = await verify(settings)
        assert report.agrees, report.samples


async def test_all_are_requested_again_each_time(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with open_object_store(settings) as store, projecting(settings), running(run_thumbnails, settings):
        await store.put("one.png", PICTURE, "image/png")
        generation_id = await completed(event_log, "one.png")
        for revision in (1, 2, 3):
            [output] = await answered(pool, generation_id, revision)
            assert output.thumbnail is not None
            assert output.thumbnail.revision == revision
            if revision < 3:
                assert (await backfill(settings, "--all"))["requested"] == 1
        assert await pool.fetch(JOBS) == [], "each is done"
        report = await verify(settings)
        assert report.agrees, report.samples


async def test_two_at_once_and_one_afterwards_make_one_job_each(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """The jobs of the completions are done; those of the requests stay open, as no thumbnail process runs."""
    async with projecting(settings):
        ids = [await completed(event_log, "one.png") for _ in range(12)]

        async def jobs() -> list[str]:
            return [row["job_key"] for row in await pool.fetch(JOBS)]

        async def first_jobs() -> bool:
            return len(await jobs()) == len(ids)

        await until(first_jobs)
        in_progress = await backfill(settings)
        assert (in_progress["requested"], in_progress["pending"]) == (0, len(ids))
        await pool.execute("DELETE FROM jobs.jobs")

        await asyncio.gather(backfill(settings, "--all"), backfill(settings, "--all"))
        requests = [event for event in await logged(settings) if isinstance(event, ThumbnailRequested)]

        async def folded() -> bool:
            counted = "SELECT count(*) FROM projections.timeline WHERE type = 'thumbnail.requested'"
            return bool(await pool.fetchval(counted) == len(requests))

        await until(folded)
        assert len(await jobs()) == len(ids)
        again = await backfill(settings, "--all")
        assert (again["requested"], again["pending"]) == (0, len(ids))


async def test_what_is_deleted_or_has_not_completed_is_passed_over(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with projecting(settings):
        deleted, running_one = await completed(event_log, "one.png"), a_request()
        gone = GenerationDeleted(id=new_id(), generation_id=deleted, occurred_at=datetime.now(UTC), producer="test")
        await event_log.append_many([gone, running_one])

        async def folded() -> bool:
            state = await state_of(pool, deleted)
            known = await state_of(pool, running_one.generation_id)
            return state is not None and state.deleted_at is not None and known is not None

        await until(folded)
        assert (await backfill(settings, "--all"))["generations"] == 0


async def test_an_interruption_prints_where_to_continue(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    async with projecting(settings):
        ids = [await completed(event_log, "one.png") for _ in range(8)]

        async def folded() -> bool:
            return len(await pool.fetch(JOBS)) == len(ids)

        await until(folded)
        await pool.execute("DELETE FROM jobs.jobs")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gengui_stream.cli", "backfill-thumbnails", "--all", "--rate", "0.1"),
            env=environment(settings),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        async def requested() -> Sequence[UUID]:
            return [event.generation_id for event in await logged(settings) if isinstance(event, ThumbnailRequested)]

        [first, *_] = await until(requested)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, first) == (130, min(ids))
        assert out == b"1 generations: 1 thumbnails requested, 0 being made already\n"
        assert f"--after {first}" in err.decode()
        assert b"Traceback" not in err
        assert (await backfill(settings, "--all", "--after", str(first)))["requested"] == len(ids) - 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rate", "0"), "Invalid value for '--rate': must be at least 0.1"),
        (("--after", "yesterday"), "Invalid value for '--after': must be a UUID"),
    ],
    ids=["rate", "after"],
)
async def test_wrong_usage_names_the_option(settings: Settings, arguments: Sequence[str], complaint: str) -> None:
    ran = await command(settings, "backfill-thumbnails", *arguments)
    assert ran.code == 2
    assert complaint in " ".join(ran.err.replace("│", " ").split())


async def test_without_migrations_it_prints_the_remedy(settings: Settings) -> None:
    ran = await command(settings.model_copy(update={"events_topic": "none.such"}), "backfill-thumbnails")
    assert (ran.code, ran.out) == (78, "")
    assert "gengui-stream migrate" in ran.err
