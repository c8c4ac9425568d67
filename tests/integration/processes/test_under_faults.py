"""The short form of `make fault-schedule` and `make chaos`: a few kills and pauses under load, and fake providers that
fail."""

import random
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run_chaos
from tests.faults.schedule.run import SchedulePlan, run_schedule

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.mark.long
async def test_a_short_schedule_of_faults_has_no_anomaly(apache_kafka: None, tmp_path: Path) -> None:
    plan = SchedulePlan(seed=random.randrange(2**32), count=8, every_s=1.5)
    print(f"seed {plan.seed}")
    # A worker without heartbeats that is killed holds its job until then.
    report = await run_schedule(plan, tmp_path, print, {"GENERATION_DEADLINE_S": "60"})
    assert report.found == [], report.as_text()
    assert report.statuses["completed"]


async def test_generations_at_a_failing_provider_end_once_each() -> None:
    report = await run_chaos(Plan(provider="gemini", count=12, seed=random.randrange(2**32)), print)
    assert report.faults() == [], report.as_json()
