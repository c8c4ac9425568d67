"""The drills of docs/recovery.md: all of them on one system in short, and each by itself in `make test-faults`."""

import random
from pathlib import Path

import pytest

from tests.drills.disasters import DISASTERS
from tests.drills.run import DrillPlan, run_drill


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_one_disaster_after_the_other(apache_kafka: None, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    plan = DrillPlan(names=tuple(DISASTERS), seed=seed, generations=2, fork_server="tests.drills.fork_server")
    report = await run_drill(plan, tmp_path, print)
    assert report.found == [], report.as_text()
    assert set(report.recovered_s) == set(DISASTERS)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DISASTERS)
async def test_a_disaster(apache_kafka: None, tmp_path: Path, name: str) -> None:
    report = await run_drill(DrillPlan(names=[name], seed=random.randrange(2**32), events=20_000), tmp_path, print)
    assert report.found == [], report.as_text()
