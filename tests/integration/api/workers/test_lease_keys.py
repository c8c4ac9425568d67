"""The lease of a job counts with the API key that claimed it alone."""

import json
from dataclasses import dataclass
from uuid import UUID

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gengui_stream.accounts.keys.api_keys import KeyChoice, revoke_key, seed_user
from gengui_stream.accounts.keys.key_text import key_id_of
from gengui_stream.accounts.principals import Role
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import lease_key
from schemas.events import Event
from schemas.operations.operation import Scope
from tests.integration.api.client import Client, Json, failed
from tests.integration.api.workers.job_worker import JobWorker, reaches

pytestmark = pytest.mark.stack

REFUSED = (409, "lease_of_another_key")


@dataclass(frozen=True)
class Others:
    """With other keys than `box`: of its account, of an admin for work alone, and of an operator."""

    same_account: JobWorker
    admin_as_worker: JobWorker
    operator: JobWorker

    @property
    def strangers(self) -> tuple[JobWorker, ...]:
        return self.same_account, self.admin_as_worker


@pytest_asyncio.fixture
async def others(box: JobWorker, pool: Pool) -> Others:
    async def one(role: Role, *scopes: Scope) -> JobWorker:
        key = await seed_user(pool, f"{role}@example.com", role, KeyChoice(scopes=frozenset(scopes)))
        return JobWorker(Client(box.client.session, box.client.base, key))

    return Others(
        await one("worker", "worker"),
        await one("admin", "worker"),
        await one("admin", "worker", "ops"),
    )


async def _refusals(thief: JobWorker, job: Json) -> set[tuple[int, str]]:
    """What every step of the job is refused with; it must be refused."""
    answers = [
        await thief.on(job, "heartbeat"),
        await thief.on(job, "upload", mime_type="image/png", bytes=1),
        await thief.report(job, "started"),
        await thief.report(job, "failed", error={"code": "forged", "message": "forged"}),
        await thief.on(job, "release"),
    ]
    return {(status, str(found.get("code"))) for status, found in answers}


async def test_another_key_with_the_lease_is_refused_and_the_worker_goes_on(
    user: Client, box: JobWorker, others: Others
) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    for thief in others.strangers:
        assert await _refusals(thief, job) == {REFUSED}
    assert await box.state(job) == "running"
    assert (await box.completed(job, b"picture"))[0] == 200
    for thief in others.strangers:
        assert await _refusals(thief, job) == {REFUSED}, "also after the end"
    await reaches(user, generation_id, "completed")
    events = (await user.get(f"/v1/generations/{generation_id}/events"))["data"]
    assert {event["type"] for event in events}.isdisjoint({"generation.started", "generation.failed"})


async def test_an_operator_may_use_the_lease_of_any_worker(user: Client, box: JobWorker, others: Others) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    assert await others.operator.state(job) == "running"
    assert (await others.operator.on(job, "release"))[0] == 204
    again = await others.operator.claimed()
    assert again["id"] == generation_id
    status, problem = await box.on(again, "heartbeat")
    assert (status, problem["code"]) == REFUSED


async def test_a_batch_of_reports_changes_no_job_of_another_key(user: Client, box: JobWorker, others: Others) -> None:
    leased, free = await user.created(), await user.created()
    jobs = {job["id"]: job for job in [await box.claimed(), await box.claimed()]}
    assert (await box.on(jobs[free], "release"))[0] == 204

    for thief in others.strangers:
        status, found = await _report(thief, failed(leased), failed(free))
        assert status == 200
        outcomes = [(item["outcome"], item.get("code")) for item in found["data"]]
        assert outcomes == [("refused", "lease_of_another_key"), ("accepted", None)]
        status, found = await _report(thief, failed(leased))
        assert (status, found["code"]) == (422, "lease_of_another_key")
    status, _ = await _report(box, failed(leased))
    assert status == 200


async def _report(reporter: JobWorker, *events: Event) -> tuple[int, Json]:
    sent = {"events": [json.loads(event.model_dump_json()) for event in events]}
    status, _, found = await reporter.client.call("POST", "/v1/worker/events", json=sent)
    return status, found


async def test_the_job_of_a_revoked_key_is_taken_over_after_its_lease(
    user: Client, box: JobWorker, others: Others, pool: Pool
) -> None:
    generation_id = await user.created()
    job = await box.claimed(lease_s=2)
    await revoke_key(pool, key_id_of(box.client.key) or "")
    assert (await box.on(job, "heartbeat"))[0] == 401
    taken = await others.same_account.claimed()
    assert (taken["id"], taken["attempt"]) == (generation_id, job["attempt"])
    assert (await others.same_account.completed(taken, b"picture"))[0] == 200
    await reaches(user, generation_id, "completed")


async def test_leases_without_a_key_count_as_before(user: Client, box: JobWorker, others: Others, redis: Redis) -> None:
    """Those of processes of the previous release, during an update."""
    await user.created()
    job = await box.claimed()
    await redis.hdel(lease_key(UUID(job["id"])), "key")
    assert await others.same_account.state(job) == "running"
    assert await box.state(job) == "running"


async def test_a_lease_that_redis_lost_is_bound_to_the_key_that_goes_on(
    user: Client, box: JobWorker, others: Others, redis: Redis
) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    await box.report(job, "started")
    await reaches(user, generation_id, "processing")
    await redis.flushdb()
    assert await box.state(job) == "running"
    assert await _refusals(others.same_account, job) == {REFUSED}
