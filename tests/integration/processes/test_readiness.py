"""`/readyz` knows of servers that answer and take no writes, and of a projection that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from agents import lag
from agents.run import run_agents
from api import standstill
from gengui_stream.errors import TransientError
from gengui_stream.health import liveness
from gengui_stream.health.liveness import Health
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.background import background_task
from gengui_stream.process.waits import current_waits
from gengui_stream.redis_io import health as redis_health
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.health import PROBE, RedisHealth
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, private_redis, role_context

FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON projections.timeline EXECUTE FUNCTION disk_full();
"""
"""The error of a full disk, at the statement that would extend a table."""

ROOM = "DROP TRIGGER full_disk ON projections.timeline; DROP FUNCTION disk_full()"


async def readiness(client: Client) -> tuple[int, Any]:
    status, _, found = await client.call("GET", "/readyz")
    return status, found


async def test_a_full_redis_degrades_the_api(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server, aiohttp.ClientSession() as session:
        await server.start()
        own = server.settings(settings)
        async with serving(own, session) as base, opened_client(own) as redis:
            client = Client(session, base, "none")
            await redis.set("filling", "x" * 100_000)
            await redis.config_set("maxmemory", 1)
            status, found = await readiness(client)
            assert (status, found["status"], found["checks"]["redis"]) == (200, "degraded", "ok")
            assert "OutOfMemoryError" in found["checks"]["redis_writes"]
            await redis.config_set("maxmemory", 0)
            assert (await readiness(client))[1]["status"] == "ready"
            assert not await redis.exists(PROBE)


async def test_a_full_redis_makes_a_role_that_writes_to_it_unready(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_health, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(liveness, "UNREADY_AFTER_S", 0.0)
    health = Health()
    health.started()
    current_waits.set(health.waits)
    async with private_redis(tmp_path) as server, opened_client(server.settings(settings)) as redis:
        await server.start()
        checks = RedisHealth(shared(redis))
        async with background_task(checks.keep_checking):
            await checks.check_writes()
            await redis.config_set("maxmemory", 1)
            with pytest.raises(TransientError, match="OutOfMemoryError"):
                await checks.check_writes()
            await eventually(lambda: _is(health, ready=False))
            assert "OutOfMemoryError" in str(health.liveness().readiness_document())
            await redis.config_set("maxmemory", 0)
            await eventually(lambda: _is(health, ready=True))


async def test_agents_whose_partition_stands_still_are_unready(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when every server answers: here a commit waits for a lock that a forgotten session holds."""
    monkeypatch.setattr(lag, "STANDS_STILL_S", 0.5)
    stop = asyncio.Event()
    role = role_context(settings, stop)
    agents = asyncio.ensure_future(run_agents(role))
    try:
        await event_log.append(a_request())
        await eventually(lambda: _says(role.health, "caught_up"))
        async with pool.acquire() as forgotten, forgotten.transaction():
            await forgotten.execute("LOCK TABLE projections.timeline")
            at = await event_log.append(a_request())
            await eventually(lambda: _is(role.health, ready=False))
            found: Any = role.health.liveness().readiness_document()
            shown = found["partitions"][str(at.partition)]
            assert (shown["events_behind"], shown["trend"], shown["eta_s"]) == (1, "standing_still", None)
            assert "waits" not in found
        await eventually(lambda: _is(role.health, ready=True))
    finally:
        stop.set()
        await agents


async def _says(health: Health, trend: str) -> bool:
    health.tick()
    return trend in str(health.liveness().readiness_document())


async def _is(health: Health, *, ready: bool) -> bool:
    health.tick()
    return health.liveness().ready is ready


async def test_a_full_disk_of_postgresql_makes_the_projector_unready_and_degrades_the_api(
    settings: Settings,
    pool: Pool,
    event_log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standstill, "STANDS_STILL_S", 0.05)
    monkeypatch.setattr(liveness, "UNREADY_AFTER_S", 0.0)
    health = Health()
    health.started()
    async with (
        aiohttp.ClientSession() as session,
        serving(settings, session) as base,
        reporting(health),
        projecting(settings),
    ):
        client = Client(session, base, "none")
        await pool.execute(FULL)
        await event_log.append_many(wide_history(0))
        await eventually(lambda: _is(health, ready=False))
        assert asyncpg.DiskFullError.__name__ in str(health.liveness().readiness_document()["waits"])

        async def stands_still() -> bool:
            status, found = await readiness(client)
            return (status, found["status"]) == (200, "degraded") and "stand" in found["checks"]["projection"]

        await eventually(stands_still)
        await pool.execute(ROOM)
        await eventually(lambda: _is(health, ready=True))

        async def ready() -> bool:
            return bool((await readiness(client))[1]["status"] == "ready")

        await eventually(ready)


@asynccontextmanager
async def reporting(health: Health) -> AsyncIterator[None]:
    """The tasks that the block starts report what they wait for."""
    token = current_waits.set(health.waits)
    yield
    current_waits.reset(token)
