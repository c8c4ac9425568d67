"""A process no longer reports partitions that it has lost."""

import pytest

from agents.run import run_agents
from gengui_stream.metrics import new_metrics
from gengui_stream.settings import Settings
from tests.integration.running import eventually, running

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
