"""Limits of generations, through the socket: exact over two servers, and counted once for each that was requested."""

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from api import server
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.client import Client, failed
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually, logged

PARALLEL = int(os.environ.get("QUOTA_REQUESTS", "100"))
"""`QUOTA_REQUESTS=1000` for the long form."""

CREATE = "/v1/generations"
BODY = {"prompt": "a fox"}
Answer = tuple[int, Mapping[str, str], dict[str, Any]]


@asynccontextmanager
async def two_servers(
    settings: Settings, session: aiohttp.ClientSession, key: str, **changes: object
) -> AsyncIterator[list[Client]]:
    limited = settings.model_copy(update=changes)
    async with serving(limited, session) as one, serving(limited, session) as two:
        yield [Client(session, one, key), Client(session, two, key)]


async def create(client: Client, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.call("POST", CREATE, json=BODY, headers=sent)


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(status for status, _, _ in answers)


@pytest.fixture
async def key(pool: Pool) -> str:
    return await seed_user(pool, "user@example.com", "user")


async def test_parallel_requests_take_exactly_the_quota(
    settings: Settings, session: aiohttp.ClientSession, key: str
) -> None:
    quota = PARALLEL // 5
    async with two_servers(settings, session, key, rate_limit_user_daily=quota) as clients:
        answers = await asyncio.gather(*(create(clients[n % 2]) for n in range(PARALLEL)))
        assert statuses(answers) == {202: quota, 429: PARALLEL - quota}
        for status, headers, body in answers:
            assert headers["RateLimit-Policy"] == f'"daily";q={quota};w=86400'
            if status == 429:
                assert body["code"] == "quota_exceeded"
                assert f"{quota} of {quota} generations" in body["detail"]
                assert 0 < int(headers["Retry-After"]) <= 86_400
        left = sorted(int(headers["RateLimit"].split(";")[1][2:]) for status, headers, _ in answers if status == 202)
        assert left == list(range(quota)), "each admission says what it left"
        found = await clients[0].get("/v1/account/usage")
        assert (found["daily"]["used"], found["daily"]["remaining"]) == (quota, 0)
        resets_at = datetime.fromisoformat(found["daily"]["resets_at"])
        assert 0 < (resets_at - datetime.now(UTC)).total_seconds() <= 86_400
        assert len(await logged(settings)) == quota


async def test_a_repeated_key_counts_once_also_in_parallel(
    settings: Settings, session: aiohttp.ClientSession, key: str
) -> None:
    async with two_servers(settings, session, key, rate_limit_user_daily=3) as clients:
        answers = await asyncio.gather(*(create(clients[n % 2], Idempotency_Key="k") for n in range(20)))
        assert statuses(answers) == {202: 20}
        assert len({body["id"] for _, _, body in answers}) == 1
        assert (await clients[0].get("/v1/account/usage"))["daily"]["used"] == 1
        others = [await create(clients[0], Idempotency_Key=f"k{n}") for n in range(3)]
        assert [status for status, _, _ in others] == [202, 202, 429]
        assert (await create(clients[1], Idempotency_Key="k"))[0] == 202, "an answer that exists is not refused"


async def test_invalid_requests_count_nothing(settings: Settings, session: aiohttp.ClientSession, key: str) -> None:
    async with two_servers(settings, session, key, rate_limit_user_daily=2) as [client, _]:
        for body in ({}, {"prompt": ""}, {"prompt": "x", "provider": "none"}, {"prompt": "x", "width": 7}):
            assert (await client.call("POST", CREATE, json=body))[0] == 422
        assert (await client.call("POST", f"{CREATE}/{uuid.uuid4()}/retry"))[0] == 404
        assert (await client.get("/v1/account/usage"))["daily"] | {"resets_at": ""} == {
            "limit": 2, "used": 0, "remaining": 2, "resets_at": ""
        }  # fmt: skip


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
async def test_a_failed_append_gives_back(
    settings: Settings,
    session: aiohttp.ClientSession,
    key: str,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "APPEND_WITHIN_S", 0.000_001)
    async with two_servers(settings, session, key, rate_limit_user_daily=2) as [client, _]:
        for _ in range(4):
            assert (await create(client, **headers))[0] == 503
        found = await client.get("/v1/account/usage")
        assert (found["daily"]["used"], found["in_progress"]["used"]) == (0, 0)


async def test_a_user_has_limits_of_its_own(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, key: str
) -> None:
    await pool.execute("UPDATE accounts.users SET daily_limit = 3, in_progress_limit = 0")
    admin = await seed_user(pool, "admin@example.com", "admin")
    changes = {"rate_limit_user_daily": 1, "rate_limit_admin_daily": 2, "in_progress_limit": 1}
    async with two_servers(settings, session, key, **changes) as [client, other]:
        assert [(await create(client))[0] for _ in range(4)] == [202, 202, 202, 429]
        other.key = admin
        assert [(await create(other))[2].get("code") for _ in range(2)] == [None, "too_many_in_progress"]
        await pool.execute("UPDATE accounts.users SET in_progress_limit = 0")
        assert [(await create(other))[2].get("code") for _ in range(2)] == [None, "quota_exceeded"]


async def test_the_quota_begins_again_with_the_day(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, key: str
) -> None:
    async with two_servers(settings, session, key, rate_limit_user_daily=2) as [client, _]:
        assert [(await create(client))[0] for _ in range(3)] == [202, 202, 429]
        await pool.execute("UPDATE accounts.daily_usage SET day = day - 1")
        assert (await client.get("/v1/account/usage"))["daily"]["used"] == 0
        assert [(await create(client))[0] for _ in range(3)] == [202, 202, 429]


async def test_so_many_generations_are_in_progress_and_no_more(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, event_log: EventLog, key: str
) -> None:
    """Before the projections have any of them, and after; one that ended makes room for one."""
    async with two_servers(settings, session, key, in_progress_limit=5, rate_limit_user_daily=0) as clients:
        answers = await asyncio.gather(*(create(clients[n % 2]) for n in range(40)))
        assert statuses(answers) == {202: 5, 429: 35}
        refused = [body["code"] for status, _, body in answers if status == 429]
        assert set(refused) == {"too_many_in_progress"}
        ids = [body["id"] for status, _, body in answers if status == 202]
        async with projecting(settings):
            for generation_id in ids[:2]:
                await event_log.append(failed(generation_id))

            async def ended() -> bool:
                found = await clients[0].get("/v1/account/usage")
                assert found["in_progress"]["limit"] == 5
                return bool(found["in_progress"]["used"] == 3)

            await eventually(ended)
            answers = await asyncio.gather(*(create(clients[n % 2]) for n in range(20)))
            assert statuses(answers) == {202: 2, 429: 18}
            retried = await clients[0].call("POST", f"{CREATE}/{ids[0]}/retry")
            assert (retried[0], retried[2]["code"]) == (429, "too_many_in_progress")


async def test_what_was_never_appended_does_not_block_later_ones(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, key: str
) -> None:
    """A process that crashed between the two: the id of its generation is older than any append can take."""
    async with two_servers(settings, session, key, in_progress_limit=1) as [client, _]:
        assert (await create(client))[0] == 202
        assert (await create(client))[0] == 429
        old = uuid.UUID("0195b7a0-0000-7000-8000-000000000000")
        await pool.execute("UPDATE accounts.daily_usage SET open = ARRAY[$1::uuid]", old)
        assert (await create(client))[0] == 202
