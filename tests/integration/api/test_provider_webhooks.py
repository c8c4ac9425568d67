"""POST /v1/provider-webhooks/{provider}/{token}: accepted with a valid token, and only a reason to query the
provider."""

import gzip
import io
import uuid
from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import pytest_asyncio
from pydantic import SecretStr

from gengui_stream.jobs.queue import JobQueue
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.webhook_tokens import AttemptName, token_of
from gengui_stream.redis_io.notifications import NotificationSubscriber, jobs_channel
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.running import eventually

SECRET = "a secret of webhooks"


@pytest_asyncio.fixture
async def anonymous(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client without a key."""
    with_secret = settings.model_copy(update={"webhook_secret": SecretStr(SECRET)})
    async with serving(with_secret, session) as base:
        yield Client(session, base, "")


def path_of(generation_id: UUID, attempt: int = 1, *, secret: str = SECRET, provider: str = "runpod") -> str:
    token = token_of(AttemptName(provider, generation_id, attempt), secret)
    return f"/v1/provider-webhooks/runpod/{token}"


async def a_job(pool: Pool, kind: str, generation_id: UUID, *, outcome: str | None = None) -> None:
    """One that is due in an hour."""
    await pool.execute(
        "INSERT INTO jobs.jobs (job_key, kind, generation_id, attempt, available_at, outcome)"
        " VALUES ($1, $2, $3, 1, now() + interval '1 hour', $4)",
        f"{kind}:{generation_id}:1", kind, generation_id, outcome,
    )  # fmt: skip


async def expedited(pool: Pool, generation_id: UUID) -> bool:
    find = "SELECT expedited FROM jobs.jobs WHERE kind = 'reconcile' AND generation_id = $1"
    return bool(await pool.fetchval(find, generation_id))


async def call(client: Client, path: str, body: bytes | io.BytesIO = b"{}") -> tuple[int, str]:
    status, _, found = await client.call("POST", path, data=body)
    return status, str(found.get("outcome") or found.get("code"))


async def test_the_watch_of_the_attempt_is_due_at_once_and_its_process_is_woken(
    anonymous: Client, pool: Pool, settings: Settings
) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, "dispatch", generation_id, outcome="done")
    await a_job(pool, "reconcile", generation_id)
    async with NotificationSubscriber(settings) as subscriber:
        await subscriber.subscribe(jobs_channel("reconcile"))
        messages = subscriber.messages()
        assert await anext(messages) == (jobs_channel("reconcile"), None), "subscribed"
        for body in (b'{"id": "x", "status": "COMPLETED"}', b"<html>", b"", b"\xff" * 1_000):
            assert await call(anonymous, path_of(generation_id), body) == (200, "noted")
        assert await anext(messages) == (jobs_channel("reconcile"), None), "expedited"
    queue = JobQueue(pool, "reconcile", owner="test", lease_seconds=30)
    [job] = await queue.claim(10)
    assert (job.generation_id, job.expedited) == (generation_id, True)
    assert await queue.claim(10) == []


async def test_a_claimed_job_is_due_again_after_a_webhook(anonymous: Client, pool: Pool) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, "dispatch", generation_id, outcome="done")
    await a_job(pool, "reconcile", generation_id)
    await pool.execute("UPDATE jobs.jobs SET available_at = now() WHERE kind = 'reconcile'")
    queue, other = (JobQueue(pool, "reconcile", owner=owner, lease_seconds=30) for owner in ("one", "other"))
    [job] = await queue.claim(10)
    assert not job.expedited
    assert await call(anonymous, path_of(generation_id)) == (200, "noted")
    assert await other.claim(10) == [], "it is not taken from who has it"
    await queue.reschedule({job.key: 3_600.0})
    [again] = await other.claim(10)
    assert again.expedited
    await other.reschedule({again.key: 3_600.0})
    assert await queue.claim(10) == [], "said once, looked at once"


async def test_a_provider_that_is_quicker_than_the_dispatch_creates_the_reconcile_job(
    anonymous: Client, pool: Pool
) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, "dispatch", generation_id)
    assert await call(anonymous, path_of(generation_id)) == (200, "noted")
    queue = JobQueue(pool, "reconcile", owner="test", lease_seconds=30)
    [job] = await eventually(lambda: queue.claim(10))
    assert (job.key, job.expedited) == (f"reconcile:{generation_id}:1", True)


async def test_a_webhook_without_a_reconcile_job_is_ignored(anonymous: Client, pool: Pool) -> None:
    over = uuid.uuid4()
    await a_job(pool, "dispatch", over, outcome="done")
    await a_job(pool, "reconcile", over, outcome="done")
    for path in (path_of(over), path_of(over, 2), path_of(uuid.uuid4())):
        assert await call(anonymous, path) == (200, "ignored")
    assert not await expedited(pool, over)
    assert await pool.fetchval("SELECT count(*) FROM jobs.jobs") == 2


async def test_a_forged_one_finds_nothing(anonymous: Client, pool: Pool) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, "dispatch", generation_id, outcome="done")
    await a_job(pool, "reconcile", generation_id)
    good = path_of(generation_id)
    forged = [
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        path_of(generation_id, secret="another secret of mine"),
        path_of(generation_id, provider="gemini"),
        good.replace("/runpod/", "/gemini/"),
        good.replace(".1.", ".2."),
        "/v1/provider-webhooks/runpod/forged",
        "/v1/provider-webhooks/runpod/%00",
        "/v1/provider-webhooks/runpod/" + "x" * 4_000,
    ]
    for path in forged:
        assert await call(anonymous, path) == (404, "not_found"), path
    assert not await expedited(pool, generation_id)


async def test_what_is_no_webhook_at_all_is_refused(anonymous: Client, pool: Pool) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, "dispatch", generation_id, outcome="done")
    await a_job(pool, "reconcile", generation_id)
    path = path_of(generation_id)
    for method in ("GET", "PUT", "DELETE"):
        status, headers, found = await anonymous.call(method, path)
        assert (status, found["code"], headers["Allow"]) == (405, "method_not_allowed", "POST")
    assert await call(anonymous, path, io.BytesIO(b" " * 1_100_000)) == (413, "body_too_large")
    packed = {"Content-Encoding": "gzip"}
    status, _, found = await anonymous.call("POST", path, data=gzip.compress(b" " * 9_000_000), headers=packed)
    assert (status, found["code"]) == (413, "body_too_large")
    status, _, found = await anonymous.call("POST", path, data=b"not gzip", headers=packed)
    assert (status, found["code"]) == (400, "malformed_body")
    assert not await expedited(pool, generation_id)


async def test_without_a_secret_there_are_no_webhooks(base: str, session: aiohttp.ClientSession) -> None:
    assert await call(Client(session, base, ""), path_of(uuid.uuid4())) == (404, "not_found")
