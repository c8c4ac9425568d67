"""A process no longer reports partitions that it has lost, and ends when it cannot report."""

import asyncio

import pytest

from agents.lag import LagReport
from agents.run import run_agents
from gengui_stream.metrics import new_metrics
from gengui_stream.settings import Settings
from tests.integration.running import eventually, role_context, running

pytestmark = pytest.mark.stack


async def test_agents_that_stopped_report_no_lag(settings: Settings) -> None:
    """A role that lost its broker starts again in the same process, with the same metrics and other partitions."""
    metrics = new_metrics()

    def lags() -> list[float | None]:
        partitions = [{"partition": str(number)} for number in range(settings.events_partitions)]
        return [metrics.registry.get_sample_value("gengui_projection_lag_events", each) for each in partitions]

    async with running(run_agents, settings, metrics):

        async def reported() -> bool:
            return None not in lags()

        await eventually(reported)
    assert set(lags()) == {None}


async def test_agents_that_cannot_report_their_lag_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lag that stands still would look like health."""

    def fails(report: LagReport) -> None:
        raise RuntimeError("a bug in our code")

    monkeypatch.setattr(LagReport, "measure", fails)
    with pytest.raises(RuntimeError, match="a bug in our code"):
        async with asyncio.timeout(60):
            await run_agents(role_context(settings))
