"""Jobs of a slow provider stay in the table, where every dispatcher can claim them, and delay no other provider."""

from contextlib import AsyncExitStack
from functools import partial

import pytest
from pydantic import SecretStr

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import Rule
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.jobs.conftest import scene
from tests.integration.running import a_request, eventually, running

pytestmark = pytest.mark.stack

SLOW = GeminiScript(rules=(Rule(then=Images(seconds=60)),), image_side_max=64)

IN_ORDER = "SELECT generation_id FROM jobs.jobs WHERE kind = 'dispatch' ORDER BY available_at, generation_id"


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


async def _is_called_so_often(gemini: GeminiServer, calls: int) -> bool:
    return len(gemini.calls) >= calls


async def _announced(pool: Pool, number: int) -> bool:
    found = await pool.fetchval(
        "SELECT count(*) FROM projections.generation_states WHERE provider = 'gemini' AND status IN "
        "('dispatched', 'processing')"
    )
    return bool(found == number)


async def test_a_backlog_is_called_in_order_and_left_alone_while_it_waits(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    script = GeminiScript(rules=(Rule(then=Images(seconds=0.2)),), image_side_max=64)
    async with fake_gemini(script) as gemini:
        slow = settings.model_copy(
            update={"gemini_api_key": SecretStr("k"), "gemini_base_url": gemini.url, "gemini_calls_at_once": 1}
        )
        async with scene(slow, pool, event_log, dispatchers=0) as stage:
            await event_log.append_many([a_request(provider="gemini", prompt=f"fox {n}") for n in range(300)])
            await eventually(partial(pool.fetchval, "SELECT count(*) = 300 FROM jobs.jobs WHERE kind = 'dispatch'"))
            order = [str(row["generation_id"]) for row in await pool.fetch(IN_ORDER)]
            async with running(run_dispatch, slow):
                await eventually(partial(_is_called_so_often, gemini, 2))
                quick = await stage.request(provider="local")
                await stage.reaches(quick, Status.DISPATCHED)
                await eventually(partial(_is_called_so_often, gemini, 6))
                touched = await pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'dispatch' AND tries > 0")
            called = [call.generation for call in gemini.calls]
            assert called == order[: len(called)]
            assert touched <= 1, "only what is called is claimed"
