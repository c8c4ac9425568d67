"""PostgreSQL restored from a backup while the log is 10,000 events ahead: whichever role starts first, no provider is
called twice for an attempt, every open generation ends, and the read models agree with the log."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pytest
from pydantic import SecretStr

from agents.run import run_agents
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.fakes.scripts import Rule
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import generation_states
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import GenerationRequested
from tests.events import EVENTS_A_GENERATION, wide_histories
from tests.integration.providers.runpod_scenes import KEY, living, with_runpod
from tests.integration.running import a_request, eventually, running

pytestmark = pytest.mark.stack

AHEAD: Final = 10_000
HASTY: Final = {
    "runpod_silence_s": 1.0,
    "runpod_look_every_s": 0.5,
    "gemini_api_key": SecretStr("k"),
    "gemini_calls_at_once": 2,
    "job_lease_s": 2.0,
}

TABLES: Final = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE relkind = 'r' AND relnamespace IN ('projections'::regnamespace, 'jobs'::regnamespace)
"""

SENTINEL: Final = """
WITH live AS (
    INSERT INTO jobs.partition_owners VALUES (999, 1, 'infinity')
    ON CONFLICT (partition) DO UPDATE SET valid_until = 'infinity')
INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, provider, model, pinned, available_at)
VALUES ($1, 'dispatch', 999, gen_random_uuid(), 1, 'local', 'none', true, now())
"""

OLDER: Final = "UPDATE jobs.partition_owners SET valid_until = valid_until - interval '1 minute'"
"""Nothing is restored so soon after its backup that an owner of then would still count."""

UNCLAIMABLE: Final = """
SELECT count(*) = 0 FROM jobs.partition_owners WHERE valid_until > now() AND partition <> 999
"""


@dataclass
class Scene:
    """The servers and two fakes. `asked`: every request."""

    settings: Settings
    pool: Pool
    log: EventLog
    runpod: RunpodServer
    gemini: GeminiServer
    asked: list[GenerationRequested] = field(default_factory=list)

    async def request(self, count: int) -> None:
        """As many from each provider."""
        made = [
            a_request(provider=provider, model=model, width=256, height=256)
            for _ in range(count)
            for provider, model in (("runpod", "zit-basic"), ("gemini", "gemini-3.1-flash-image"))
        ]
        self.asked += made
        await self.log.append_many(made)

    async def statuses(self) -> Counter[Status]:
        states = await generation_states.load(self.pool, [request.generation_id for request in self.asked])
        return Counter(state.status for state in states.values())

    async def have(self, wanted: Callable[[Counter[Status]], bool]) -> None:
        async def look() -> bool:
            return wanted(await self.statuses())

        await eventually(look)

    async def all_completed(self) -> None:
        await self.have(lambda statuses: statuses == {Status.COMPLETED: len(self.asked)})

    def calls(self) -> Counter[tuple[str, int | None]]:
        """How often each attempt was submitted."""
        made = [*self.runpod.calls_of("run"), *self.gemini.calls_of("generate")]
        return Counter((call.generation, call.attempt) for call in made)


@asynccontextmanager
async def opened(settings: Settings, pool: Pool, log: EventLog) -> AsyncIterator[Scene]:
    slow = GeminiScript(rules=(Rule(then=Images(seconds=0.2)),), image_side_max=64)
    async with fake_gemini(slow) as gemini, fake_runpod(living(run_s=1.5), settings=settings, key=KEY) as runpod:
        made = with_runpod(settings, runpod.url, gemini_base_url=gemini.url, **HASTY)
        yield Scene(made, pool, log, runpod, gemini)
        assert {**runpod.overlaps, **gemini.overlaps} == {}


async def backed_up(pool: Pool) -> dict[str, Sequence[object]]:
    """Every row of each table, all of one moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        names = [row["name"] for row in await connection.fetch(TABLES)]
        return {name: [row["r"] for row in await connection.fetch(f"SELECT t::text AS r FROM {name} t")]
                for name in names}  # fmt: skip


async def restore(pool: Pool, backup: dict[str, Sequence[object]]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"TRUNCATE {', '.join(backup)}")
        for name, rows in backup.items():
            await connection.execute(f"INSERT INTO {name} SELECT (r::{name}).* FROM unnest($1::text[]) r", rows)
        await connection.execute(OLDER)


async def claims_nothing(scene: Scene) -> None:
    """Returns once a dispatcher has made a whole claim. It takes the jobs of a partition of the test's own."""
    for number in range(2):
        key = f"dispatch:sentinel:{number}"
        await scene.pool.execute(SENTINEL, key)
        gone = "SELECT count(*) = 0 FROM jobs.jobs WHERE job_key = $1"
        await eventually(partial(scene.pool.fetchval, gone, key))


async def agents(scene: Scene, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(running(run_agents, scene.settings))


async def dispatchers(scene: Scene, stack: AsyncExitStack) -> None:
    for _ in range(2):
        await stack.enter_async_context(running(run_dispatch, scene.settings))


async def dispatchers_first(scene: Scene, stack: AsyncExitStack) -> None:
    before = scene.calls()
    await dispatchers(scene, stack)
    await claims_nothing(scene)
    assert scene.calls() == before, "no partition is live"
    await agents(scene, stack)


async def agents_first(scene: Scene, stack: AsyncExitStack) -> None:
    await agents(scene, stack)
    await eventually(partial(scene.pool.fetchval, UNCLAIMABLE.replace("= 0", "> 0")))
    await dispatchers(scene, stack)


async def both_at_once(scene: Scene, stack: AsyncExitStack) -> None:
    await agents(scene, stack)
    await dispatchers(scene, stack)


@pytest.mark.parametrize("start", [dispatchers_first, agents_first, both_at_once], ids=lambda start: start.__name__)
async def test_a_restored_backup_calls_no_provider_twice(
    settings: Settings,
    pool: Pool,
    event_log: EventLog,
    start: Callable[[Scene, AsyncExitStack], Awaitable[None]],
) -> None:
    async with opened(settings, pool, event_log) as scene:
        async with running(run_agents, scene.settings), running(run_dispatch, scene.settings):
            await scene.request(10)
            await scene.have(lambda found: len(found) >= 3 and found[Status.QUEUED] > 2)
            backup = await backed_up(pool)
            history = list(wide_histories(AHEAD // EVENTS_A_GENERATION, start=datetime.now(UTC), active=1))
            for first in range(0, len(history), 2_000):
                await event_log.append_many(history[first : first + 2_000])
            await scene.all_completed()
            await scene.request(5)
            await scene.have(lambda found: found[Status.QUEUED] == 0 and found[Status.COMPLETED] >= 20)
        await restore(pool, backup)
        assert (await scene.statuses())[Status.QUEUED] > 2
        assert await pool.fetchval(UNCLAIMABLE)
        async with AsyncExitStack() as stack:
            await start(scene, stack)
            await scene.all_completed()
            await scene.request(1)
            await scene.all_completed()
            open_jobs = "SELECT count(*) = 0 FROM jobs.jobs WHERE kind IN ('dispatch', 'cancel')"
            await eventually(partial(pool.fetchval, open_jobs))
        assert set(scene.calls().values()) == {1}
        assert len(scene.calls()) == len(scene.asked)
        report = await verify(scene.settings)
        assert report.agrees, report.samples
