"""The shared pauses of providers, in PostgreSQL and in memory."""

import pytest

from gengui_stream.jobs.provider_pauses import PostgresProviderPauses, ProviderPauses
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.routing.decision import ProviderPause
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.provider_pauses import InMemoryProviderPauses

pytestmark = pytest.mark.stack


@pytest.fixture(params=["PostgreSQL", "memory"])
def pauses(request: pytest.FixtureRequest, emptied: Pool) -> ProviderPauses:
    return PostgresProviderPauses(emptied) if request.param == "PostgreSQL" else InMemoryProviderPauses(Clock())


async def test_the_longest_pause_of_a_provider_and_model_is_known_until_it_ends(pauses: ProviderPauses) -> None:
    for seconds, reason in ((60.0, "first"), (600.0, "longest"), (1.0, "last")):
        await pauses.hold(ProviderPause("gemini", "banana", seconds, reason))
    await pauses.hold(ProviderPause("gemini", "other", 0.0, "over"))
    [pause] = await pauses.current()
    assert (pause.provider, pause.model, pause.reason) == ("gemini", "banana", "longest")
    assert 500 < pause.seconds <= 600
