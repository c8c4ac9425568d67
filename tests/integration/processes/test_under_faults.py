"""The short form of `make fault-schedule` and `make chaos`: a few kills and pauses under load, and fake providers that
fail."""

import random
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.dev.forks.client import OF_THE_ROLES
from tests.chaos.run import Plan, run_chaos
from tests.faults.schedule.run import SchedulePlan, run_schedule

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

IMPATIENT: Final = {"GEMINI_TIMEOUT_S": "2", "RUNPOD_SILENCE_S": "4", "RUNPOD_LOOK_EVERY_S": "1"}
"""The fakes respond in half a second, or never."""


@pytest.mark.long
async def test_a_short_schedule_of_faults_has_no_anomaly(apache_kafka: None, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    plan = SchedulePlan(seed=seed, count=8, every_s=1.5, again_s=(1.0, 6.0), fork_server=OF_THE_ROLES)
    print(f"seed {plan.seed}")
    # A worker without heartbeats that is killed holds its job until then.
    report = await run_schedule(plan, tmp_path, print, {"GENERATION_DEADLINE_S": "60"})
    assert report.found == [], report.as_text()
    assert report.statuses["completed"]


async def test_generations_at_a_failing_provider_end_once_each() -> None:
    report = await run_chaos(Plan(provider="gemini", count=12, seed=random.randrange(2**32)), print, IMPATIENT)
    assert report.faults() == [], report.as_json()
