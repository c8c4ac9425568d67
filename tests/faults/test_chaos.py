"""Two dispatchers and failing fake providers: `make chaos` does the same with thousands of generations."""

import random

import pytest

from tests.chaos.run import Plan, ProviderName, run_chaos

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("provider", ["gemini", "runpod"])
async def test_every_generation_ends_and_none_runs_twice_at_once(provider: ProviderName) -> None:
    plan = Plan(provider=provider, count=150, seed=random.randrange(2**32))
    report = await run_chaos(plan, print)
    assert report.faults() == [], report.as_json()
    assert report.statuses["completed"] > plan.count / 2
