"""Everything works through a pooler in transaction mode, or says what to set."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.errors import ConfigurationError
from gengui_stream.fakes.gemini.script import GeminiScript
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool, opened_pool, transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.role import run_thumbnails
from schemas.events import GenerationRequested
from tests.integration.commands import command
from tests.integration.postgres.pgbouncer import BINARY, pooled_url
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, running

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(BINARY is None, reason="pgbouncer is not installed"),
]


@pytest_asyncio.fixture
async def pooled(settings: Settings) -> AsyncIterator[Settings]:
    async with pooled_url(settings.database_dsn) as url:
        direct = {"database_direct_url": SecretStr(settings.database_dsn), "db_pooling": "transaction"}
        yield settings.model_copy(update={"database_url": SecretStr(url), **direct})


async def test_many_clients_share_few_sessions(pooled: Settings) -> None:
    async with opened_pool(pooled, size=20) as pool:

        async def ask(number: int) -> int:
            async with pool.acquire() as connection, connection.transaction():
                first = await connection.fetchval("SELECT $1::int", number)
                row = await connection.fetchrow("SELECT $1::int AS n", number)
            [fetched] = await pool.fetch("SELECT $1::int", number)
            await pool.execute("SELECT $1::int", number)
            assert row is not None
            return int(first + row["n"] + fetched[0])

        found = await asyncio.gather(*(ask(number) for number in range(400)))
    assert found == [3 * number for number in range(400)]


async def test_generations_end_and_verify_agrees(pooled: Settings, event_log: EventLog) -> None:
    async with fake_gemini(GeminiScript(image_side_max=64)) as server:
        key = {"gemini_api_key": SecretStr("AIza-test"), "gemini_base_url": server.url}
        roles = pooled.model_copy(update=key)
        async with projecting(roles), running(run_dispatch, roles), running(run_thumbnails, roles):
            requests = [a_request(provider="gemini", model=roles.gemini_model_names[0]) for _ in range(6)]
            await event_log.append_many(requests)
            async with opened_pool(roles) as pool:
                await eventually(lambda: _all_settled(pool, requests))
    verified = await command(pooled, "verify", "--json")
    assert verified.code == 0, verified.out


async def _all_settled(pool: Pool, requests: Sequence[GenerationRequested]) -> bool:
    states = await generation_states.load(pool, [request.generation_id for request in requests])
    return len(states) == len(requests) and all(state.settled for state in states.values())


async def test_without_the_setting_a_line_says_what_to_set(pooled: Settings) -> None:
    unaware = pooled.model_copy(update={"db_pooling": "none"})
    with pytest.raises(ConfigurationError, match="DB_POOLING=transaction"):
        async with opened_pool(unaware):
            pass
    ran = await command(unaware, "jobs")
    assert ran.code == 78
    assert "DB_POOLING=transaction" in ran.err


async def test_statements_that_lose_their_session_say_what_to_set(pooled: Settings) -> None:
    """A pooler that passes on all parameters is noticed by its first lost statement."""
    async with asyncpg.create_pool(pooled.database_dsn, min_size=8, max_size=8) as pool:

        async def ask() -> None:
            for _ in range(100):
                await pool.fetchval("SELECT $1::int", 1)

        with pytest.raises(ConfigurationError, match="DB_POOLING=transaction"), transient_errors():
            await asyncio.gather(*(ask() for _ in range(8)))


async def test_a_migration_needs_a_session(pooled: Settings) -> None:
    ran = await command(pooled, "migrate", "--json")
    assert (ran.code, ran.document["applied"]) == (0, [])
    refused = await command(pooled.model_copy(update={"database_direct_url": None}), "migrate")
    assert refused.code == 78
    assert "DATABASE_DIRECT_URL" in refused.err
