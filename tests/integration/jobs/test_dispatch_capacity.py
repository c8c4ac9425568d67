"""Jobs of a slow provider stay in the table, where every dispatcher can claim them, and delay no other provider."""

from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import Rule
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.jobs.test_dispatch import scene
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

SLOW = GeminiScript(rules=(Rule(then=Images(seconds=60)),), image_side_max=64)


async def test_what_has_no_place_among_the_calls_stays_in_the_queue_and_in_nobodys_way(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with AsyncExitStack() as provider:
        gemini = await provider.enter_async_context(fake_gemini(SLOW))
        slow = settings.model_copy(
            update={"gemini_api_key": SecretStr("k"), "gemini_base_url": gemini.url, "gemini_calls_at_once": 1}
        )
        async with scene(slow, pool, event_log) as stage:
            waiting = [await stage.request(provider="gemini") for _ in range(6)]
            await eventually(lambda: _announced(pool, 1))
            quick = await stage.request(provider="local")
            await stage.reaches(quick, Status.DISPATCHED)
            await eventually(lambda: _is_called(gemini))
            statuses = await pool.fetch("SELECT status FROM projections.generation_states WHERE provider = 'gemini'")
            assert [row["status"] for row in statuses].count("queued") == len(waiting) - 1
            assert len(gemini.calls) == 1
            await provider.aclose()  # or the dispatcher would not end before its calls do


async def _is_called(gemini: GeminiServer) -> bool:
    return bool(gemini.calls)


async def _announced(pool: Pool, number: int) -> bool:
    found = await pool.fetchval(
        "SELECT count(*) FROM projections.generation_states WHERE provider = 'gemini' AND status IN "
        "('dispatched', 'processing')"
    )
    return bool(found == number)
