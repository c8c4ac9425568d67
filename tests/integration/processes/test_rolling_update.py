"""An update without downtime: processes of the previous release run on the schema of this one, beside processes of this
one, under load. Every request is accepted, every generation ends, and no provider is called twice for an attempt."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import aiohttp
import pytest
from pydantic import SecretStr

from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.fakes.scripts import Rule
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.positions import Position
from gengui_stream.postgres.migrations import migrate, shipped_migrations
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projections import generation_states
from gengui_stream.recovery.dead_letters.letters import retry
from gengui_stream.recovery.rebuild.outcome import Request
from gengui_stream.recovery.rebuild.shadow.tables import PROJECTIONS
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests import previous_release
from tests.databases import new_database
from tests.integration.agents.agents_runs import joined, send_raw
from tests.integration.processes.releases import Release, release
from tests.integration.providers.runpod_scenes import KEY, living, with_runpod
from tests.integration.recovery.rebuild.rebuilding import rebuilt
from tests.integration.running import eventually
from tests.orders import ORDER

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

CODE: Final = Path(__file__).parents[3]
ROLES: Final = ("api", "agents", "dispatch", "thumbnails")
REQUESTS_EACH: Final = 4
PAUSE_S: Final = 0.3
HASTY: Final = {
    "gemini_api_key": SecretStr("k"),
    "gemini_timeout_s": 10.0,
    "runpod_silence_s": 2.0,
    "runpod_look_every_s": 0.5,
    "kafka_session_timeout_s": 6.0,
    "port": 0,
    "metrics_port": 0,
}
MODELS: Final = (("runpod", "zit-basic"), ("gemini", "gemini-3.1-flash-image"))
UNRESOLVED: Final = "SELECT count(*) FROM projections.dead_letters WHERE resolution IS NULL"
REFUSED: Final = "a prompt that PostgreSQL refuses"


class Clients:
    """Requests and reads, sent to each of the `urls` in turn, as a load balancer does."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.urls: Sequence[str] = ()
        self.accepted: defaultdict[str, list[UUID]] = defaultdict(list)

    @property
    def all_accepted(self) -> list[UUID]:
        return [one for some in self.accepted.values() for one in some]

    async def run(self) -> None:
        for number, (provider, model) in enumerate(cycle(MODELS)):
            url = self.urls[number // len(MODELS) % len(self.urls)]
            await self.request(url, provider=provider, model=model)
            await asyncio.sleep(PAUSE_S)

    async def request(self, url: str, **body: str) -> UUID:
        document = {"prompt": "a lighthouse", "width": 256, "height": 256, **body}
        found = await self._call("POST", url, document)
        made = UUID(str(found["id"]))
        self.accepted[url].append(made)
        return made

    async def status(self, url: str, generation_id: UUID) -> object:
        return (await self._call("GET", f"{url}/{generation_id}"))["status"]

    async def _call(self, method: str, url: str, document: object = None) -> Mapping[str, object]:
        headers = {"Idempotency-Key": str(uuid4())}
        async with self._http.request(method, url, json=document, headers=headers) as response:
            found: dict[str, object] = await response.json()
            assert response.status < 400, found
            return found

    async def more(self, url: str) -> None:
        """Until that API has accepted some more."""
        wanted = len(self.accepted[url]) + REQUESTS_EACH

        async def enough() -> bool:
            return len(self.accepted[url]) >= wanted

        await eventually(enough)


async def refused(pool: Pool, asked: Clients, url: str) -> Position:
    """The dead letter of a request."""
    await pool.execute(
        f"ALTER TABLE projections.timeline ADD CONSTRAINT picky CHECK (payload NOT LIKE '%{REFUSED}%') NOT VALID"
    )
    generation_id = await asked.request(url, prompt=REFUSED, provider="gemini", model=MODELS[1][1])
    find = "SELECT partition, log_offset FROM projections.dead_letters WHERE generation_id = $1"
    row = await eventually(partial(pool.fetchrow, find, generation_id))
    assert row is not None
    await pool.execute("ALTER TABLE projections.timeline DROP CONSTRAINT picky")
    return Position(row["partition"], row["log_offset"])


async def of_a_later_version(settings: Settings, pool: Pool, generation_id: UUID) -> None:
    """Ignored by the process of the previous release that folds it."""
    given = {"generation_id": generation_id, "attempt": 1, "percent": {"of": "a later version"}}
    event = {"type": "generation.progressed", "schema_version": 99, "id": new_id(), **given}
    await send_raw(settings, [(str(generation_id).encode(), json.dumps(event, default=str).encode(), None)])
    ignored = "SELECT count(*) FROM projections.timeline WHERE generation_id = $1 AND ignored = 'unknown_version'"
    assert await eventually(partial(pool.fetchval, ignored, generation_id)) == 1


async def all_completed(pool: Pool, ids: Sequence[UUID]) -> None:
    left: list[object] = []

    async def look() -> bool:
        states = await generation_states.load(pool, ids)
        left[:] = [state for one in ids if (state := states.get(one)) is None or state.status is not Status.COMPLETED]
        return not left

    try:
        await eventually(look, within_s=120)
    except AssertionError as error:
        raise AssertionError(f"{len(left)} of {len(ids)} are left: {left[:3]}") from error


async def update(settings: Settings, pool: Pool, old: Release, new: Release, asked: Clients) -> None:
    """From one release to the next, while clients send requests."""
    before = asked.urls[0]
    await asked.more(before)
    await of_a_later_version(settings, pool, asked.all_accepted[0])
    applied = await migrate(settings.database_dsn, "pre")
    assert applied[0] not in previous_release.migrations()
    await asked.more(before)
    await retry(pool, settings.events_topic, await refused(pool, asked, before), job_timings(settings), ORDER)
    new.start(*ROLES)
    after = await new.generations_url()
    await joined(settings, 2)
    asked.urls = [before, after]
    await asked.more(before)
    await asked.more(after)
    asked.urls = [after]
    await old.stop()
    await migrate(settings.database_dsn, "backfill")
    await migrate(settings.database_dsn, "post")
    await asked.more(after)


async def side_by_side(settings: Settings, old: Release, new: Release) -> None:
    assert (await old.command("migrate", "--json"))["applied"] == sorted(previous_release.migrations())
    key = str((await old.command("seed", "--json"))["key"])
    old.start(*ROLES)
    async with opened_pool(settings) as pool, aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
        asked = Clients(http)
        asked.urls = [await old.generations_url()]
        async with asyncio.TaskGroup() as group:
            load = group.create_task(asked.run())
            await update(settings, pool, old, new, asked)
            load.cancel()
        ids = asked.all_accepted
        await all_completed(pool, ids)
        assert [await asked.status(asked.urls[0], one) for one in ids] == ["completed"] * len(ids)


@pytest.mark.long
async def test_both_releases_run_side_by_side(settings: Settings, stack: Mapping[str, str], tmp_path: Path) -> None:
    previous_release.unpack(tmp_path / "code")
    script = GeminiScript(rules=(Rule(then=Images(seconds=0.3)),), image_side_max=64)
    async with (
        new_database(stack, template="template1") as url,
        fake_gemini(script) as gemini,
        fake_runpod(living(run_s=1), settings=settings, key=KEY) as runpod,
    ):
        changes = {**HASTY, "gemini_base_url": gemini.url, "database_url": SecretStr(url)}
        made = with_runpod(settings, runpod.url, **changes)
        async with (
            release("old", tmp_path / "code", tmp_path / "old", made) as old,
            release("new", CODE, tmp_path / "new", made) as new,
        ):
            await side_by_side(made, old, new)
            await new.stop()
            assert new.crashes == {}
            assert old.crashes == {"agents": 1}, "a retry fences an owner that heeds no revision"
        async with opened_pool(made) as pool:
            assert await pool.fetchval(UNRESOLVED) == 0
        past = Request(tables=PROJECTIONS["provider-usage"], order=ORDER, accept_differences=True)
        await rebuilt(made, past)  # the processes of the previous release did not know it
        report = await verify(made)
        assert report.agrees, report.samples
        calls = [*runpod.calls_of("run"), *gemini.calls_of("generate")]
        assert set(Counter((call.generation, call.attempt) for call in calls).values()) == {1}
        assert {**runpod.overlaps, **gemini.overlaps} == {}


def test_applied_migrations_are_as_the_previous_release_shipped_them() -> None:
    """Its databases would refuse a changed file; and a new one comes after all that are applied."""
    before = previous_release.migrations()
    shipped = {migration.name: migration.sql for migration in shipped_migrations()}
    assert {name: sql for name, sql in shipped.items() if name in before} == before
    assert min(shipped.keys() - before, default="~") > max(before)


def test_the_kept_source_is_of_the_named_commit() -> None:
    assert previous_release.commit_of_source() == previous_release.COMMIT
