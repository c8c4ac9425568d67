"""Two dispatchers and providers that fail in every way they know: `make hell` does the same with thousands."""

import random

import pytest

from tests.hell.run import Plan, ProviderName, descend

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("provider", ["gemini", "runpod"])
async def test_every_generation_ends_and_none_runs_twice_at_once(provider: ProviderName) -> None:
    plan = Plan(provider=provider, count=150, seed=random.randrange(2**32))
    fate = await descend(plan, print)
    assert fate.faults() == [], fate.as_json()
    assert fate.statuses["completed"] > plan.count / 2
