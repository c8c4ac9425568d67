"""Kills and pauses of every role and server, checked by an oracle: a short form of `make fault-schedule`."""

import random
from pathlib import Path

import pytest

from tests.faults.schedule.run import SchedulePlan, run_schedule

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


async def test_a_schedule_of_faults_has_no_anomaly(apache_kafka: None, tmp_path: Path) -> None:
    plan = SchedulePlan(seed=random.randrange(2**32), count=60, round=30)
    print(f"seed {plan.seed}")
    report = await run_schedule(plan, tmp_path, print)
    assert report.found == [], report.as_text()
    assert report.statuses["completed"] > report.accepted / 2
