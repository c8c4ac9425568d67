"""Jobs of workers over HTTP, from the claim to the picture: through the socket, with every server."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from yarl import URL

from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import (
    lease_key,
)
from gengui_stream.settings import Settings
from schemas.events import GenerationRetried
from tests.integration.api.client import Client, Json
from tests.integration.api.workers.job_worker import JobWorker, reaches
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def test_a_worker_with_nothing_but_http_takes_a_job_to_its_picture(
    user: Client, box: JobWorker, pool: Pool
) -> None:
    waiting = asyncio.ensure_future(box.claimed(models=["m", "local-sketch"], worker="box-1"))
    generation_id = await user.created(prompt="a fox, 光", seed=7, width=256, height=320)
    job = await waiting
    asked = {"id": generation_id, "attempt": 1, "prompt": "a fox, 光", "seed": 7, "width": 256, "height": 320}
    assert {name: job[name] for name in asked} == asked
    assert (await box.report(job, "started"))[1]["state"] == "running"
    assert await box.state(job) == "running"
    status, progressed = await box.report(job, "progressed", percent=40, stage="denoising")
    assert (status, progressed["state"]) == (200, "running")
    assert progressed["lease_expires_at"] > job["lease_expires_at"]
    status, receipt = await box.completed(job, b"a picture")
    assert (status, receipt["state"], receipt["lease_expires_at"]) == (200, "ended", None)

    found = await reaches(user, generation_id, "completed")
    [output] = found["outputs"]
    assert (output["mime_type"], output["bytes"]) == ("image/png", len(b"a picture"))
    signed = URL(output["url"], encoded=True).query
    begins = datetime.strptime(signed["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    ends = begins + timedelta(seconds=int(signed["X-Amz-Expires"]))
    assert output["expires_at"] == ends.isoformat().replace("+00:00", "Z")
    async with user.session.get(output["url"]) as answer:
        assert await answer.read() == b"a picture"
    events = (await user.get(f"/v1/generations/{generation_id}/events"))["data"]
    types = [event["type"].removeprefix("generation.") for event in events]
    assert types == ["requested", "dispatched", "started", "heartbeat_received", "progressed", "completed"]
    payloads = await pool.fetch("SELECT payload FROM projections.timeline WHERE type <> 'generation.requested'")
    producers = {json.loads(row["payload"])["producer"] for row in payloads}
    assert {name for name in producers if name.startswith("worker")} == {"worker/box-1"}
    assert [event["ignored"] for event in events] == [None] * 6


async def test_a_lost_workers_job_is_taken_over_and_only_one_result_counts(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    lost = await box.claimed(lease_s=2)
    late = await box.on(lost, "upload", mime_type="image/png", bytes=4)
    taken = await box.claimed()
    assert (taken["id"], taken["attempt"]) == (lost["id"], lost["attempt"])
    for refused in [
        box.on(lost, "heartbeat"),
        box.on(lost, "release"),
        box.on(lost, "upload", mime_type="image/png", bytes=1),
        box.report(lost, "failed", error={"code": "late", "message": "late"}),
        box.report(lost, "completed", outputs=[{"object_key": late[1]["object_key"]}]),
    ]:
        status, problem = await refused
        assert (status, problem["code"]) == (409, "lease_lost")
    assert (await box.completed(taken, b"good"))[0] == 200
    await box.put(late[1], b"late")  # its URL is still valid
    found = await reaches(user, generation_id, "completed")
    async with user.session.get(found["outputs"][0]["url"]) as answer:
        assert await answer.read() == b"good"
    events = (await user.get(f"/v1/generations/{generation_id}/events"))["data"]
    assert [event["type"] for event in events] == [
        "generation.requested",
        "generation.dispatched",
        "generation.completed",
    ]


async def test_a_released_job_goes_to_a_waiting_worker_at_once(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    waiting = asyncio.ensure_future(box.claimed())
    assert (await box.on(job, "release"))[0] == 204
    again = await waiting
    assert (again["id"], again["attempt"]) == (generation_id, 1)
    assert again["lease"] != job["lease"]
    assert (await box.on(job, "release"))[0] == 409


async def test_a_heartbeat_tells_what_became_of_the_job(
    user: Client, box: JobWorker, settings: Settings, event_log: EventLog
) -> None:
    canceled, deleted, retried = [await user.created() for _ in range(3)]
    jobs = {job["id"]: job for job in [await box.claimed() for _ in range(3)]}
    for job in jobs.values():
        assert await box.state(job) == "running"
    await user.call("POST", f"/v1/generations/{canceled}/cancel")
    await user.call("DELETE", f"/v1/generations/{deleted}")
    await event_log.append(_retried(retried))

    async def states() -> bool:
        found = [await box.state(jobs[generation_id]) for generation_id in (canceled, deleted, retried)]
        return found == ["canceled", "deleted", "superseded"]

    await eventually(states)
    assert (await box.report(jobs[canceled], "canceled"))[0] == 200
    await reaches(user, canceled, "canceled")
    second = await box.claimed()
    assert (second["id"], second["attempt"]) == (retried, 2)
    status, problem = await box.on(jobs[retried], "heartbeat")
    assert (status, problem["code"]) == (409, "lease_lost")


def _retried(generation_id: str) -> GenerationRetried:
    return GenerationRetried.model_validate(
        {
            "id": new_id(),
            "generation_id": generation_id,
            "attempt": 1,
            "occurred_at": datetime.now(UTC),
            "producer": "test",
            "reason": "test",
        }
    )


async def test_a_picture_that_is_not_there_is_refused(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    promised = (await box.on(job, "upload", mime_type="image/webp", bytes=3))[1]["object_key"]
    status, problem = await box.report(job, "completed", outputs=[{"object_key": promised}])
    assert (status, problem["code"]) == (422, "object_missing")
    assert promised in problem["detail"]
    for foreign in (
        "nosuch.png",
        f"users/{uuid4()}/media/{generation_id}.png",
        promised.replace(job["lease"], "0" * 32),
    ):
        status, problem = await box.report(job, "completed", outputs=[{"object_key": foreign}])
        assert (status, problem["errors"][0]["field"]) == (422, "event.outputs.0.object_key")
    assert await box.state(job) == "running"
    assert (await box.completed(job, b"there"))[0] == 200


async def test_a_repeated_end_is_recorded_once_and_another_is_refused(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    key = await box.uploaded(job, b"picture")
    first, again = [await box.report(job, "completed", outputs=[{"object_key": key}]) for _ in range(2)]
    assert (first[0], again[0]) == (200, 200)
    assert first[1]["position"] is not None
    assert again[1] == {"state": "ended", "lease_expires_at": None, "position": None}
    status, problem = await box.report(job, "failed", error={"code": "x", "message": "y"})
    assert (status, problem["code"]) == (409, "job_ended")
    assert await box.state(job) == "ended"
    await reaches(user, generation_id, "completed")
    events = (await user.get(f"/v1/generations/{generation_id}/events"))["data"]
    assert [event["type"] for event in events].count("generation.completed") == 1


async def test_a_failure_is_retried_as_the_next_attempt(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    error = {"code": "out_of_memory", "message": "CUDA", "retryable": True}
    assert (await box.report(job, "failed", error=error))[0] == 200
    second = await box.claimed()
    assert (second["id"], second["attempt"]) == (generation_id, 2)
    assert (await box.report(second, "moderated", reason="not this"))[0] == 200
    await reaches(user, generation_id, "moderated")


async def test_a_worker_goes_on_after_redis_lost_its_data(user: Client, box: JobWorker, redis: Redis) -> None:
    generation_id = await user.created()
    job = await box.claimed()
    await box.report(job, "started")
    await reaches(user, generation_id, "processing")
    await redis.flushdb()
    assert await box.state(job) == "running"
    assert (await redis.hget(lease_key(UUID(generation_id)), "lease")) == job["lease"]
    assert (await box.completed(job, b"picture"))[0] == 200
    await reaches(user, generation_id, "completed")


async def test_what_is_no_claim_or_no_job_is_refused_by_name(user: Client, box: JobWorker) -> None:
    refused: list[tuple[Json, str]] = [
        ({"wait_s": 61}, "wait_s"),
        ({"wait_s": "2"}, "wait_s"),
        ({"lease_s": 0.5}, "lease_s"),
        ({"models": []}, "models"),
        ({"models": ["x" * 101]}, "models.0"),
        ({"colour": 1}, "colour"),
    ]
    for body, field in refused:
        status, problem = await box.claim(**body)
        assert (status, problem["errors"][0]["field"]) == (422, field)
    unknown = {"id": str(new_id()), "lease": uuid4().hex}
    for step in ("heartbeat", "release"):
        status, problem = await box.on(unknown, step)
        assert (status, problem["code"]) == (404, "unknown_job")
    await user.created()
    job = await box.claimed()
    assert (await box.on({**job, "id": "rubbish"}, "heartbeat"))[0] == 404
    assert (await box.on({**job, "lease": "rubbish"}, "heartbeat"))[0] == 422
    assert (await box.on({**job, "lease": uuid4().hex}, "heartbeat"))[1]["code"] == "lease_lost"
    assert (await box.on(job, "upload", mime_type="text/html", bytes=1))[0] == 422
    assert (await box.on(job, "upload", mime_type="image/png", bytes=50 * 1024 * 1024 + 1))[0] == 422
    assert (await box.report(job, "requested"))[0] == 422
    assert (await box.report(job, "completed", outputs=[]))[0] == 422
    assert (await box.report(job, "progressed", percent=101))[0] == 422


async def test_ids_and_times_have_one_form(user: Client, box: JobWorker) -> None:
    plain = await user.created()
    job = await box.claimed()
    for other in (f"urn:uuid:{plain}", plain.replace("-", "")):
        status, found = await box.on({**job, "id": other}, "heartbeat")
        assert (status, found["code"]) == (404, "unknown_job"), other
    status, found = await box.report(job, "started", id=f"urn:uuid:{plain}")
    assert (status, found["errors"][0]["field"]) == (422, "event.generation.started.id")
    status, found = await box.report(job, "started", occurred_at=1_795_889_820)
    assert (status, found["errors"][0]["field"]) == (422, "event.generation.started.occurred_at")
