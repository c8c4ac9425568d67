"""Limits of requests, through the socket: by user and by address, and while Redis is unavailable."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.limits import token_leases
from gengui_stream.postgres.pool import Pool
from gengui_stream.redis_io import rate_limits
from gengui_stream.redis_io.rate_limits import ANSWER_WITHIN_S
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.running import PrivateRedis, eventually, private_redis
from tests.integration.silent_proxy import silent_proxy

USAGE = "/v1/account/usage"


def redis_has(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So many seconds to answer."""
    for module in (rate_limits, token_leases):
        monkeypatch.setattr(module, "ANSWER_WITHIN_S", seconds)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a busy machine stops is none that hangs."""
    redis_has(monkeypatch, 20 * ANSWER_WITHIN_S)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the product is."""
    redis_has(monkeypatch, ANSWER_WITHIN_S)


async def test_a_user_has_so_many_requests_a_minute_on_all_servers(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    limited = settings.model_copy(update={"requests_per_minute": 5})
    keys = [await seed_user(pool, f"{name}@example.com", "user") for name in ("a", "a", "b")]
    async with serving(limited, session) as one, serving(limited, session) as two:
        clients = [Client(session, base, key) for key in keys[:2] for base in (one, two)]
        found = await asyncio.gather(*(clients[n % 4].call("GET", USAGE) for n in range(20)))
        statuses = [status for status, _, _ in found]
        assert (statuses.count(200), statuses.count(429)) == (5, 15), "one user, two keys, two servers"
        for status, headers, body in found:
            assert headers["RateLimit-Policy"] == '"requests";q=5;w=60'
            assert headers["RateLimit"].startswith('"requests";r=')
            if status == 429:
                assert (body["code"], 1 <= int(headers["Retry-After"]) <= 12) == ("rate_limited", True)
                assert "requests: at most 5 in 60 s" in body["detail"]
        status, _, _ = await Client(session, one, keys[2]).call("GET", USAGE)
        assert status == 200, "another user is not affected"


async def test_workers_are_not_counted(settings: Settings, session: aiohttp.ClientSession, pool: Pool) -> None:
    """A refused one would lose its lease; without the scope it is counted as anyone."""
    limited = settings.model_copy(update={"requests_per_minute": 2})
    worker = await seed_user(pool, "worker@example.com", "worker")
    user = await seed_user(pool, "user@example.com", "user")
    job = "/v1/worker/jobs/0195b7a0-0000-7000-8000-000000000000/heartbeat"
    async with serving(limited, session) as base:

        async def statuses(key: str, path: str) -> list[int]:
            client = Client(session, base, key)
            return [(await client.call("POST", path, json={"lease": "x"}))[0] for _ in range(4)]

        assert 429 not in await statuses(worker, job)
        assert await statuses(user, job) == [403, 403, 429, 429]


async def test_an_address_has_so_many_requests_without_a_valid_key(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    limited = settings.model_copy(update={"rate_limit_unauthenticated": 3, "proxies_trusted": 1})
    key = await seed_user(pool, "user@example.com", "user")
    async with serving(limited, session) as base:
        intruder, user = Client(session, base, "gg_00000000_" + "x" * 43), Client(session, base, key)

        async def status(client: Client, address: str) -> int:
            return (await client.call("GET", USAGE, headers={"X-Forwarded-For": address}))[0]

        assert [await status(intruder, "198.51.100.1") for _ in range(5)] == [401] * 3 + [429] * 2
        assert await status(intruder, "203.0.113.9, 198.51.100.1") == 429, "what a client writes itself does not count"
        assert await status(user, "198.51.100.1") == 200, "a valid key passes"
        assert await status(intruder, "198.51.100.2") == 401
        assert [await status(intruder, f"2001:db8::{n}") for n in range(1, 5)] == [401] * 3 + [429], "one /64"


async def test_while_redis_is_stopped_each_server_counts_by_itself(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, tmp_path: Path
) -> None:
    async with private_redis(tmp_path) as redis:
        await redis.start()
        limited = redis.settings(settings, requests_per_minute=5)
        key = await seed_user(pool, "user@example.com", "user")
        async with serving(limited, session) as base:
            await redis.kill()
            assert await _statuses(Client(session, base, key), 8) == [200] * 5 + [429] * 3
            metrics = await _metrics(session, base)
            assert 'gengui_rate_limits_local_total{policy="requests"} 8.0' in metrics
            assert 'gengui_rate_limited_total{policy="requests"} 3.0' in metrics
            await redis.start()
            await _counted_by_redis(Client(session, base, key), redis)


async def _counted_by_redis(client: Client, redis: PrivateRedis) -> None:
    async def allowed() -> bool:
        return (await client.call("GET", USAGE))[0] == 200

    await eventually(allowed)
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"KEYS gengui:limits:*\r\n")
    assert await reader.readline() == b"*1\r\n"
    writer.close()


async def _statuses(client: Client, count: int) -> list[int]:
    return [(await client.call("GET", USAGE))[0] for _ in range(count)]


async def _metrics(session: aiohttp.ClientSession, base: str) -> str:
    async with session.get(f"{base}/metrics") as response:
        return await response.text()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("limit", "allowed"), [(5, 5), (600, 40)])
async def test_a_redis_that_hangs_delays_parallel_requests_once(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, limit: int, allowed: int
) -> None:
    """Also with a limit whose requests are taken several at a time: one after the other they would take 20 s."""
    host, _, rest = settings.redis_dsn.removeprefix("redis://").partition(":")
    port, _, number = rest.partition("/")
    key = await seed_user(pool, "user@example.com", "user")
    async with silent_proxy(host, int(port)) as proxy:
        url = SecretStr(f"redis://127.0.0.1:{proxy.port}/{number}")
        limited = settings.model_copy(update={"requests_per_minute": limit, "redis_url": url})
        async with serving(limited, session) as base:
            client = Client(session, base, key)
            await client.get(USAGE)
            proxy.speaks.clear()
            began = time.monotonic()
            statuses = await asyncio.gather(*(client.call("GET", USAGE) for _ in range(40)))
            assert [status for status, _, _ in statuses].count(200) == allowed, "the process counts from here"
            assert time.monotonic() - began < 10


async def test_log_in_and_its_like_are_limited_by_address(
    settings: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Each policy by itself, and while Redis is stopped by the same limits: no open door."""
    calls = {
        "/v1/auth/login": (2, {"login": "stranger", "password": "wrong, and long enough"}),
        "/v1/auth/password-reset": (3, {"email": "stranger@example.com"}),
        "/v1/auth/resend-verification": (4, {"email": "stranger@example.com"}),
    }
    limits = {"rate_limit_log_in": 2, "rate_limit_password_reset": 3, "rate_limit_verification": 4}
    async with private_redis(tmp_path) as redis:
        await redis.start()
        limited = redis.settings(settings, proxies_trusted=1, **limits)
        async with serving(limited, session) as base:
            visitor = Client(session, base, "")
            for address in ("198.51.100.1", "198.51.100.2"):
                for path, (limit, body) in calls.items():
                    answers = [
                        await visitor.call("POST", path, json=body, headers={"X-Forwarded-For": address})
                        for _ in range(limit + 2)
                    ]
                    assert [status == 429 for status, _, _ in answers] == [False] * limit + [True] * 2, path
                    _, headers, refused = answers[-1]
                    assert (refused["code"], int(headers["Retry-After"]) > 60) == ("rate_limited", True)
                await redis.kill()
