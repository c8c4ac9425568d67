"""The short form of `make test-faults` and `make chaos`: one role and one server killed under load, and fake providers
that fail."""

import random
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run_chaos
from tests.faults.oracle import settled
from tests.faults.system import ROLES, SERVERS, DevSystem
from tests.faults.test_killed import killed_under_load

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


async def test_a_role_and_a_server_are_killed_under_load(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    system = DevSystem(tmp_path)
    try:
        await system.start()
        for name in (chance.choice(ROLES), chance.choice(SERVERS)):
            await settled(system, await killed_under_load(system, name, chance))
    finally:
        await system.stop()


async def test_generations_at_a_failing_provider_end_once_each() -> None:
    report = await run_chaos(Plan(provider="gemini", count=12, seed=random.randrange(2**32)), print)
    assert report.faults() == [], report.as_json()
