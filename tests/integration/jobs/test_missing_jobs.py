"""A jobs table that is emptied by hand while the roles run: the sweep makes the jobs again."""

from functools import partial

import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import live_partitions
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.integration.providers.runpod_scenes import living
from tests.integration.providers.test_runpod_dispatch import scene
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def test_an_emptied_jobs_table_heals_while_the_roles_run(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of attempts that run, of one that is to be canceled, and of waiting ones, which no dispatcher has claimed."""
    monkeypatch.setattr(live_partitions, "VOUCH_EVERY_S", 0.2)
    monkeypatch.setattr(live_partitions, "SWEEP_EVERY_S", 0.2)
    async with scene(settings, pool, event_log, living(run_s=3), provider_fallbacks="") as stage:
        running = [await stage.request() for _ in range(5)]
        canceled = await stage.request()
        for request in (*running, canceled):
            await stage.accepted(request)
        stage.server.play(living(run_s=3, seconds=1.5))
        await stage.cancel(canceled)
        waiting = [await stage.request() for _ in range(5)]
        await eventually(partial(pool.fetchval, "SELECT count(*) > 10 FROM projections.generation_states"))
        await pool.execute("DELETE FROM jobs.jobs")
        for request in (*running, *waiting):
            assert (await stage.reaches(request, Status.COMPLETED)).attempt == 1
        await stage.reaches(canceled, Status.CANCELED, Status.COMPLETED)
        assert len(stage.server.calls_of("run")) == 11, "none is called twice"
        assert (await verify(stage.settings)).agrees
