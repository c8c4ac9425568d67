"""From a run at RunPod to its cost: RunPod's own execution time, folded from the log, times a price."""

from decimal import Decimal

import aiohttp
import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.domain.prices import parse_prices
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.queries.costs import costs, usage
from gengui_stream.recovery.rebuild.outcome import Request
from gengui_stream.recovery.rebuild.shadow.tables import PROJECTIONS
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.integration.providers.runpod_scenes import KEY, living
from tests.integration.providers.test_runpod_dispatch import scene
from tests.integration.recovery.rebuild.rebuilding import rebuilt
from tests.orders import ORDER

pytestmark = pytest.mark.stack


async def execution_ms(url: str, job_id: str) -> int:
    """As RunPod reports it."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as http, http.get(f"{url}/v2/e1/status/{job_id}", headers=headers) as response:
        found: int = (await response.json())["executionTime"]
        return found


async def test_a_run_costs_its_execution_time_at_runpod_also_after_a_replay(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    async with scene(settings, pool, event_log, living(queue_s=0.2, run_s=0.7)) as stage:
        request = await stage.request()
        state = await stage.reaches(request, Status.COMPLETED)
        assert state.provider_job_id is not None
        reported = await execution_ms(stage.server.url, state.provider_job_id)
    [used] = await usage(pool)
    assert (used.provider, used.model, used.runs, used.images) == ("runpod", "zit-basic", 1, 1)
    assert used.run_ms == pytest.approx(reported, abs=1)
    [cost] = costs([used], parse_prices("runpod/zit-basic=2/second,runpod/*=0.5/image"))
    assert cost.amount == 2 * Decimal(used.run_ms) / 1000 + Decimal("0.5")
    assert (await verify(settings)).agrees
    await pool.execute("TRUNCATE projections.provider_usage")
    await rebuilt(settings, Request(tables=PROJECTIONS["provider-usage"], order=ORDER, accept_differences=True))
    assert await usage(pool) == [used]
