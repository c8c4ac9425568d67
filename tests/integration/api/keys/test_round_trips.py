"""How often a read asks the servers: each round trip is a good part of its time, so that none is added unnoticed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.visitors import an_account, log_in, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

REQUESTS: Final = 12


@contextmanager
def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The schema that each statement reads first, and `limits` for each call of Redis that counts requests."""
    calls: list[str] = []
    execute = getattr(asyncpg.Connection, "_execute")  # noqa: B009 - the stubs do not have it
    command: Any = Redis.execute_command

    async def executed(self: Any, query: str, *args: Any, **more: Any) -> Any:
        found = [schema for schema in ("accounts", "projections") if f"{schema}." in query]
        calls.extend(found[:1])
        return await execute(self, query, *args, **more)

    async def commanded(self: Any, *args: Any, **options: Any) -> Any:
        if args[0] == "EVALSHA":
            calls.append("limits")
        return await command(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "_execute", executed)
        patched.setattr(Redis, "execute_command", commanded)
        yield calls


async def test_a_read_by_key_asks_for_the_key_and_the_generation_alone(
    user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last use of the key is written once a minute, and requests are taken from the limit several at a time."""
    generation_id, position = await user.create()
    path = f"/v1/generations/{generation_id}"
    await user.get(path, Min_Position=position)
    with observed(monkeypatch) as calls:
        for _ in range(REQUESTS):
            await user.get(path)
    asked = [call for call in calls if call != "limits"]
    assert asked == ["accounts", "projections"] * REQUESTS
    assert calls.count("limits") <= REQUESTS
    with observed(monkeypatch) as calls:
        await user.get(path, Min_Position=position)
    assert [call for call in calls if call != "limits"] == ["accounts", "projections", "projections"]


async def test_a_request_by_session_asks_for_the_session_once(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a projector: one that starts in this process reads its checkpoints meanwhile."""
    await an_account(pool, "ada")
    async with serving(settings, session) as base, visiting(base) as client:
        await log_in(client, "ada")
        with observed(monkeypatch) as calls:
            await client.get("/v1/generations")
    assert [call for call in calls if call != "limits"] == ["accounts", "projections"]
