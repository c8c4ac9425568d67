"""The reference worker over HTTP: it has the API's URL and a worker's key, and no other server."""

import asyncio
import os
import sys
from functools import partial

import pytest
from pydantic import SecretStr

from gengui_stream.errors import ConfigurationError, PermanentError
from gengui_stream.settings import Settings
from gengui_stream.worker.client import open_worker_client
from gengui_stream.worker.run import run_worker
from schemas.events import Output
from tests.integration.api.client import Client, Json
from tests.integration.api.workers.job_worker import JobWorker, reaches
from tests.integration.running import eventually, running

pytestmark = pytest.mark.stack

NOWHERE = "127.0.0.1:9"

CLAIM_IDLE_S = 3.0
"""Longer than a busy machine stops a worker: a job that is lost several times costs an attempt."""


@pytest.fixture
def remote(settings: Settings, worker: Client) -> Settings:
    """The settings of a worker that reaches the API alone."""
    return settings.model_copy(
        update={
            "worker_transport": "http",
            "worker_api_url": worker.base,
            "worker_api_key": SecretStr(worker.key),
            "worker_claim_idle_s": CLAIM_IDLE_S,
            "redis_url": SecretStr(f"redis://{NOWHERE}/0"),
            "kafka_bootstrap_servers": NOWHERE,
            "s3_endpoint": f"http://{NOWHERE}",
        }
    )


def process_environment(remote: Settings) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    assert remote.worker_api_key is not None
    return inherited | {
        "WORKER_TRANSPORT": "http",
        "WORKER_API_URL": str(remote.worker_api_url),
        "WORKER_API_KEY": remote.worker_api_key.get_secret_value(),
        "WORKER_CLAIM_IDLE_S": str(CLAIM_IDLE_S),
        "REDIS_URL": f"redis://{NOWHERE}/0",
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "S3_ENDPOINT": f"http://{NOWHERE}",
        "METRICS_PORT": "0",
    }


async def types_of(user: Client, generation_id: str) -> list[str]:
    events = (await user.get(f"/v1/generations/{generation_id}/events"))["data"]
    return [event["type"].removeprefix("generation.") for event in events]


async def test_a_worker_killed_in_the_middle_of_a_job_is_replaced_and_one_result_counts(
    user: Client, box: JobWorker, remote: Settings
) -> None:
    doomed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", "worker"), env=process_environment(remote)
    )
    try:
        generation_id = await user.created(width=2048, height=2048)
        await eventually(partial(_has, user, generation_id, "progressed"))
    finally:
        doomed.kill()
        await doomed.wait()
    assert "completed" not in await types_of(user, generation_id)
    async with running(run_worker, remote):
        found = await reaches(user, generation_id, "completed")
    types = await types_of(user, generation_id)
    assert (types.count("completed"), types.count("dispatched"), found["attempt"]) == (1, 1, 1)
    [output] = found["outputs"]
    async with user.session.get(output["url"]) as answer:
        body = await answer.read()
    assert (output["bytes"], output["mime_type"], output["width"]) == (len(body), "image/png", 2048)


async def _has(user: Client, generation_id: str, kind: str) -> bool:
    return kind in await types_of(user, generation_id)


async def test_a_cancel_stops_it_and_a_shutdown_gives_the_job_back(
    user: Client, box: JobWorker, remote: Settings
) -> None:
    hasty = remote.model_copy(update={"shutdown_grace_s": 0.1, "worker_claim_idle_s": 600.0})
    async with running(run_worker, hasty):
        canceled = await user.created(width=2048, height=2048)
        await eventually(partial(_has, user, canceled, "started"))
        await user.call("POST", f"/v1/generations/{canceled}/cancel")
        await reaches(user, canceled, "canceled")
        given_back = await user.created(width=2048, height=2048)
        await eventually(partial(_has, user, given_back, "started"))
    assert (await box.claimed())["id"] == given_back


async def test_a_client_claims_uploads_and_reports(user: Client, box: JobWorker, remote: Settings) -> None:
    generation_id = await user.created()
    async with open_worker_client(remote, "my-worker") as client:
        job = await client.jobs.claim(["local-sketch"], wait_s=30)
        assert job is not None
        await client.started(job.id)
        await client.progressed(job.id, 50, stage="half")
        assert (await client.jobs.heartbeat(job.id)).state == "running"
        key = await client.jobs.upload(job.id, b"picture", "image/png")
        await client.completed(job.id, [Output(object_key=key, width=4, height=3)])
        assert client.jobs.leases == {}
        with pytest.raises(PermanentError):
            await client.jobs.heartbeat(job.id)
        assert await client.jobs.claim(wait_s=0) is None
    found: Json = await reaches(user, generation_id, "completed")
    assert [(output["width"], output["bytes"]) for output in found["outputs"]] == [(4, 7)]
    wrong = remote.model_copy(update={"worker_api_key": SecretStr("gg_wrong")})
    async with open_worker_client(wrong) as client:
        with pytest.raises(PermanentError, match="401"):
            await client.jobs.claim(wait_s=0)


async def test_jobs_are_claimed_over_http_alone(settings: Settings) -> None:
    async with open_worker_client(settings) as client:
        with pytest.raises(ConfigurationError, match="WORKER_TRANSPORT"):
            _ = client.jobs
