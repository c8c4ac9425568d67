"""Claims of workers over HTTP, through the socket: each job goes to one worker, in every case."""

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gengui_stream.providers.local.provider import QUEUE_AHEAD
from gengui_stream.providers.local.redis_keys import (
    DEAD_STREAM,
    DELIVERIES_MAX,
    LEASES,
    QUEUE_STREAM,
    WORKER_GROUP,
)
from gengui_stream.redis_io.clients import shared
from gengui_stream.redis_io.streams import ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.api.workers.job_worker import CLAIM, JobWorker, queued, reaches
from tests.integration.running import eventually, logged

pytestmark = pytest.mark.stack


async def test_of_many_claims_one_gets_the_job(user: Client, box: JobWorker) -> None:
    claims = [asyncio.ensure_future(box.claim(wait_s=2)) for _ in range(20)]
    generation_id = await user.created()
    found = [body for status, body in await asyncio.gather(*claims) if status == 200]
    assert [job["id"] for job in found] == [generation_id]
    assert (await box.claim(wait_s=0))[0] == 204


async def test_waiting_claims_get_jobs_in_their_order(user: Client, box: JobWorker, redis: Redis) -> None:
    first = [await user.created() for _ in range(3)]
    await eventually(partial(queued, redis, QUEUE_AHEAD))
    jobs = [await box.claimed() for _ in range(3)]
    assert sorted(job["id"] for job in jobs) == sorted(first)
    assert len({job["lease"] for job in jobs}) == 3


async def test_a_claim_whose_answer_is_lost_is_claimed_again_after_its_lease(
    user: Client, box: JobWorker, redis: Redis
) -> None:
    generation_id = await user.created()
    await eventually(partial(queued, redis))
    await _claim_and_vanish(box, lease_s=1)
    await eventually(partial(redis.zcard, LEASES))
    job = await box.claimed()
    assert (job["id"], job["attempt"]) == (generation_id, 1)


async def _claim_and_vanish(box: JobWorker, **body: object) -> None:
    """Sends the claim and closes the connection without reading."""
    host, port = box.client.base.removeprefix("http://").split(":")
    content = orjson.dumps({"wait_s": 60, **body})
    head = (
        f"POST {CLAIM} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {box.client.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + content)
    await writer.drain()
    await reader.read(1)  # the answer has begun, so the job is leased
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.close()


async def test_a_client_that_leaves_while_it_waits_takes_no_job(user: Client, box: JobWorker, redis: Redis) -> None:
    left = asyncio.ensure_future(box.claimed())
    stays = asyncio.ensure_future(box.claimed())
    assert (await box.claim(wait_s=0))[0] == 204  # both are waiting by now
    left.cancel()
    generation_id = await user.created()
    assert (await stays)["id"] == generation_id


@pytest_asyncio.fixture
async def other(settings: Settings) -> AsyncIterator[ConsumerStreams]:
    """A worker on Redis."""
    async with ConsumerStreams(settings, QUEUE_STREAM, WORKER_GROUP, "redis-worker", longest_wait_s=1) as member:
        await member.create_group()
        yield member


async def test_jobs_are_claimed_by_model_and_never_from_a_redis_worker(
    user: Client, other: ConsumerStreams, box: JobWorker, redis: Redis
) -> None:
    taken = await user.created(model="large")
    await eventually(partial(queued, redis))
    [entry] = await other.read_new(1)
    assert (entry.fields["mediaId"], entry.fields["model"]) == (taken, "large")
    assert (await box.claim(wait_s=0))[0] == 204
    assert (await box.claim(wait_s=0, models=["large"]))[0] == 204

    small, large = await user.created(model="small"), await user.created(model="large")
    await eventually(partial(queued, redis, 3))
    assert (await box.claim(wait_s=0, models=["tiny"]))[0] == 204
    assert (await box.claimed(models=["large", "tiny"]))["id"] == large
    assert (await box.claim(wait_s=0, models=["large"]))[0] == 204
    waiting = asyncio.ensure_future(box.claimed(models=["large"]))
    assert (await box.claimed(models=["large", "small"]))["id"] == small
    later = await user.created(model="large")
    assert (await waiting)["id"] == later
    assert await other.read_new(1) == []


async def test_entries_that_are_no_job_are_kept_or_fail_their_generation(
    user: Client, box: JobWorker, redis: Redis
) -> None:
    broken = await user.created()
    await eventually(partial(queued, redis))
    await redis.xtrim(QUEUE_STREAM, maxlen=0)
    streams = ProducerStreams(shared(redis))
    await streams.add(QUEUE_STREAM, {"mediaId": "rubbish", "x": "y"})
    await streams.add(QUEUE_STREAM, {"mediaId": broken, "attempt": "1", "prompt": "without a size"})
    good = await user.created()
    assert (await box.claimed())["id"] == good
    found = await reaches(user, broken, "failed")
    assert found["error"]["code"] == "invalid_job"
    assert int(await redis.xlen(DEAD_STREAM)) == 1
    assert (await box.claim(wait_s=0))[0] == 204


async def test_a_job_that_costs_every_worker_its_life_is_given_up(user: Client, box: JobWorker) -> None:
    generation_id = await user.created()
    for _ in range(DELIVERIES_MAX):
        job = await box.claimed()
        assert job["id"] == generation_id
        assert (await box.on(job, "release"))[0] == 204
    assert (await box.claim(wait_s=0))[0] == 204
    found = await reaches(user, generation_id, "failed")
    assert found["error"]["code"] == "worker_lost"


async def test_only_a_workers_key_takes_jobs_and_it_reads_nothing_of_a_user(
    user: Client, box: JobWorker, session: aiohttp.ClientSession
) -> None:
    generation_id = await user.created()
    steps = [
        CLAIM,
        *(f"/v1/worker/jobs/{generation_id}/{step}" for step in ("heartbeat", "upload", "report", "release")),
    ]
    for path in steps:
        status, _, problem = await user.call("POST", path, json={})
        assert (status, problem["code"]) == (403, "forbidden")
        status, _, problem = await Client(session, user.base, "gg_unknown").call("POST", path, json={})
        assert (status, problem["code"]) == (401, "unauthorized")
    job = await box.claimed()
    assert job["id"] == generation_id
    one = f"/v1/generations/{generation_id}"
    for path in (one, f"{one}/events", f"{one}/stream", "/v1/generations", "/v1/stream"):
        status, _, problem = await box.client.call("GET", path)
        assert (status, problem["code"]) == (403, "forbidden")


async def test_without_tracing_the_trace_context_of_a_client_reaches_the_worker_and_comes_back(
    user: Client, box: JobWorker, settings: Settings
) -> None:
    clients, workers = (f"00-0af7651916cd43dd8448eb211c80319c-{number:016x}-01" for number in (1, 2))
    headers = {"traceparent": clients}
    await user.call("POST", "/v1/generations", json={"prompt": "a fox"}, headers=headers)
    job = await box.claimed()
    assert job["traceparent"] == clients
    report = {"lease": job["lease"], "event": {"type": "generation.started"}}
    for traceparent in (workers, "00-damaged"):
        path, sent = f"/v1/worker/jobs/{job['id']}/report", {"traceparent": traceparent}
        status, _, found = await box.client.call("POST", path, json=report, headers=sent)
        assert status == 200, found
    events = [(event.type, event.traceparent) for event in await logged(settings)]
    assert events == [
        ("generation.requested", clients),
        ("generation.dispatched", clients),
        ("generation.started", workers),
        ("generation.started", None),
    ]


async def test_waiting_claims_end_when_the_api_stops(
    settings: Settings, session: aiohttp.ClientSession, worker: Client
) -> None:
    async with serving(settings, session) as address:
        elsewhere = JobWorker(Client(session, address, worker.key))
        waiting = asyncio.ensure_future(elsewhere.claim(wait_s=60))
        assert (await elsewhere.claim(wait_s=0))[0] == 204
    assert (await waiting)[0] == 204
