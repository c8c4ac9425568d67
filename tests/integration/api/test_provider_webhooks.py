"""POST /v1/provider-webhooks/{provider}/{token}: accepted with a valid token, and only a reason to query the
provider."""

import gzip
import io
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import pytest_asyncio
from pydantic import SecretStr

from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.webhook_tokens import AttemptName, token_of
from gengui_stream.redis_io.notifications import AttemptNotification, Notice, NotificationSubscriber, jobs_channel
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

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


async def a_job(pool: Pool, generation_id: UUID) -> None:
    """To reconcile the first attempt in an hour."""
    await pool.execute(
        "INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, available_at)"
        " VALUES ($1, 'reconcile', 0, $2, 1, now() + interval '1 hour')",
        f"reconcile:{generation_id}:1", generation_id,
    )  # fmt: skip


async def call(client: Client, path: str, body: bytes | io.BytesIO = b"{}") -> tuple[int, str]:
    status, _, found = await client.call("POST", path, data=body)
    return status, str(found.get("outcome") or found.get("code"))


async def test_the_processes_that_reconcile_are_notified(anonymous: Client, pool: Pool, settings: Settings) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, generation_id)
    async with notifications(settings) as messages:
        for body in (b'{"id": "x", "status": "COMPLETED"}', b"<html>", b"", b"\xff" * 1_000):
            assert await call(anonymous, path_of(generation_id), body) == (200, "noted")
            assert await anext(messages) == (jobs_channel("reconcile"), AttemptNotification(generation_id, 1))


async def test_a_webhook_without_a_reconcile_job_is_ignored(anonymous: Client, pool: Pool, settings: Settings) -> None:
    known = uuid.uuid4()
    await a_job(pool, known)
    async with notifications(settings) as messages:
        for path in (path_of(known, 2), path_of(uuid.uuid4())):
            assert await call(anonymous, path) == (200, "ignored")
        assert await call(anonymous, path_of(known)) == (200, "noted")
        assert await anext(messages) == (jobs_channel("reconcile"), AttemptNotification(known, 1)), "and no other"
    assert await pool.fetchval("SELECT count(*) FROM jobs.jobs") == 1


@asynccontextmanager
async def notifications(settings: Settings) -> AsyncIterator[AsyncIterator[Notice]]:
    async with NotificationSubscriber(settings) as subscriber:
        await subscriber.subscribe(jobs_channel("reconcile"))
        messages = subscriber.messages()
        assert await anext(messages) == (jobs_channel("reconcile"), None), "subscribed"
        yield messages


async def test_a_forged_one_finds_nothing(anonymous: Client, pool: Pool) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, generation_id)
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


async def test_what_is_no_webhook_at_all_is_refused(anonymous: Client, pool: Pool) -> None:
    generation_id = uuid.uuid4()
    await a_job(pool, generation_id)
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


async def test_without_a_secret_there_are_no_webhooks(base: str, session: aiohttp.ClientSession) -> None:
    assert await call(Client(session, base, ""), path_of(uuid.uuid4())) == (404, "not_found")
