"""A metric that nothing moves lies on every dashboard, and one that a role cannot move lies on that of the role."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from agents.run import run_agents, run_live_tables
from api.server import served_api
from gengui_stream.account_jobs import account_deleter
from gengui_stream.account_jobs.role import run_account_jobs
from gengui_stream.accounts import emails
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.bridge.messages import STATUS_GROUP, STATUS_STREAM
from gengui_stream.bridge.run import run_bridge
from gengui_stream.dispatch.cost_metrics import CostCollector
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import expedite_reconcile
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.partitions import partition_of
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import timeline_retention
from gengui_stream.providers.local.redis_keys import UPLOADS
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.role_context import RoleContext
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings
from gengui_stream.thumbnails import thumbnailer
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.worker.run import run_worker
from schemas.events import Event, GenerationCompleted
from tests.events import wide_history
from tests.integration.api.client import Client
from tests.integration.log.logs import send_to
from tests.integration.projector.projecting import project_everything
from tests.integration.providers.gemini.conftest import KEY, MODEL, ready, with_gemini
from tests.integration.running import a_request, eventually, role_context, running, state_of
from tests.integration.silent_proxy import silent_proxy
from tests.metric_names import collectors, own_registry

pytestmark = pytest.mark.stack

MOVED_BY_THE_PROCESS: Final = {"gengui_retries"}
"""The composition root connects it: see `test_health_ports.py`, which runs each role as a process."""

ENTRIES: Final[Mapping[str, Callable[[RoleContext], Awaitable[None]]]] = {
    "agents": run_agents,
    "live-tables": run_live_tables,
    "dispatch": run_dispatch,
    "worker": run_worker,
    "thumbnails": run_thumbnails,
    "bridge": run_bridge,
    "account-jobs": run_account_jobs,
}
"""All but the API."""


def own(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect() if family.name.startswith("gengui_")}


def moved(metrics: Metrics) -> set[str]:
    """Those with a value other than zero, and the gauges that have been set for some labels."""
    return {
        family.name
        for family in metrics.registry.collect()
        if family.name.startswith("gengui_")
        and any(sample.value or (family.type == "gauge" and sample.labels) for sample in family.samples)
    }


async def given_what_retention_removes(settings: Settings, pool: Pool, event_log: EventLog, redis: Redis) -> None:
    """The timeline of a generation, an upload that it does not have, an idempotency key and an entry of the status
    stream; an unsent e-mail, and an account to be deleted with a generation."""
    history = wide_history(1, start=datetime.now(UTC) - timedelta(minutes=1))
    await event_log.append_many([*history, a_request(owner_id=await _deleted_account(pool))])
    await project_everything(settings, pool)
    await pool.execute("UPDATE projections.timeline SET appended_at = now() - interval '1 day'")
    await pool.execute("UPDATE projections.generation_states SET ended_at = now() - interval '1 day'")
    await pool.execute(
        "INSERT INTO accounts.idempotency_keys (owner_id, key, request_hash, event, created_at)"
        " VALUES (gen_random_uuid(), 'k', '', '', now() - interval '1 year')"
    )
    await emails.enqueue(pool, "password_changed", new_id(), "later@example.com")
    await pool.execute("UPDATE accounts.emails SET created_at = '2026-01-01', available_at = now() + interval '1 day'")
    await emails.enqueue(pool, "password_changed", new_id(), "gone@example.com")
    await emails.enqueue(pool, "password_changed", None, "unknown@example.com")
    await redis.zadd(UPLOADS, {f"{history[0].generation_id} late.png": 0})
    for entry_id in ("1-1", "2-1"):
        await redis.xadd(STATUS_STREAM, {"mediaId": str(new_id())}, id=entry_id)
    await redis.xgroup_create(STATUS_STREAM, STATUS_GROUP, id="2-1")


async def _deleted_account(pool: Pool) -> UUID:
    user_id = new_id()
    statement = (
        "INSERT INTO accounts.users (user_id, email, role, delete_after) VALUES ($1, 'gone@x.example', 'user', now())"
    )
    await pool.execute(statement, user_id)
    return user_id


async def send_astray(settings: Settings, event: Event) -> None:
    key = encode_key(event)
    home = partition_of(key, settings.events_partitions)
    await send_to(settings, (home + 1) % settings.events_partitions, key, encode_value(event))


def completed_without_its_object(request: Event) -> GenerationCompleted:
    common = {"id": new_id(), "generation_id": request.generation_id, "attempt": 1, "producer": "test"}
    return GenerationCompleted.model_validate(
        {**common, "occurred_at": datetime.now(UTC), "outputs": [{"object_key": "users/u/media/none.png"}]}
    )


@asynccontextmanager
async def serving(settings: Settings, pool: Pool, metrics: Metrics) -> AsyncIterator[Client]:
    key = await seed_user(pool, "user@example.com", "user")
    async with served_api(role_context(settings, metrics=metrics)) as port, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{port}", key)

        async def is_ready() -> bool:
            async with session.get(f"{client.base}/readyz") as answer:
                return answer.status == 200

        await eventually(is_ready)
        yield client


async def limit_without_redis(settings: Settings, pool: Pool, metrics: Metrics) -> None:
    """Requests of one user beyond the limit, to an API whose Redis has fallen silent."""
    server = urlsplit(settings.redis_dsn)
    async with silent_proxy(str(server.hostname), server.port or 0) as proxy:
        url = SecretStr(f"redis://127.0.0.1:{proxy.port}{server.path}")
        limited = settings.model_copy(update={"redis_url": url, "requests_per_minute": 1})
        async with serving(limited, pool, metrics) as client:
            proxy.speaks.clear()
            for _ in range(3):
                await client.call("GET", "/v1/account/usage")


async def ended(pool: Pool, *generation_ids: UUID) -> bool:
    states = [await state_of(pool, generation_id) for generation_id in generation_ids]
    return all(state is not None and state.settled for state in states)


async def test_each_role_moves_its_own_metrics_and_no_others(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_retention, "PASS_EVERY_S", 0.1)
    monkeypatch.setattr(thumbnailer, "MISSING_TRIES", 1)
    monkeypatch.setattr(account_deleter, "SETTLED_S", 0.0)
    monkeypatch.setattr(account_deleter, "POLL_S", 0.2)
    monkeypatch.setattr(CostCollector, "every_s", 0.2)
    found = {name: new_metrics() for name in ROLES}
    local, lost = a_request(max_attempts=1), a_request()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(opened_client(settings))
        await given_what_retention_removes(settings, pool, event_log, redis)
        server = await stack.enter_async_context(fake_gemini(ready("retiring"), key=KEY))
        made = with_gemini(settings, server.url, timeline_retention_s=60.0, prices=f"gemini/{MODEL}=0.04/image")
        client = await stack.enter_async_context(serving(made, pool, found["api"]))
        for name in ("agents", "live-tables", "dispatch", "thumbnails", "bridge", "account-jobs"):
            await stack.enter_async_context(running(ENTRIES[name], made, found[name]))
        await send_astray(settings, local)
        await event_log.append_many([lost, completed_without_its_object(lost)])
        stream = await stack.enter_async_context(client.stream("/v1/stream"))
        await stream.next()
        drawn, _ = await client.create(provider="gemini", model=MODEL)
        await limit_without_redis(made, pool, found["api"])

        async def is_reconciled() -> bool:
            await expedite_reconcile(pool, local.generation_id, 1)
            return "gengui_reconciled" in moved(found["dispatch"])

        await eventually(is_reconciled)
        await redis.xadd(STATUS_STREAM, {"mediaId": str(local.generation_id), "status": "processing"})
        await redis.xadd(STATUS_STREAM, {"mediaId": "42", "status": "processing"})
        await stack.enter_async_context(running(run_worker, made, found["worker"]))
        await eventually(lambda: ended(pool, local.generation_id, lost.generation_id, UUID(drawn)))
        expected = {name: own(new_metrics(role.name).registry) - MOVED_BY_THE_PROCESS for name, role in ROLES.items()}
        expected["dispatch"] |= {family.name for collector in collectors() for family in collector.collect()}

        async def all_moved() -> bool:
            return all(expected[name] <= moved(found[name]) for name in ROLES)

        with suppress(AssertionError):  # the assertion below names those that did not
            await eventually(all_moved, within_s=20)
        assert {name: moved(found[name]) for name in ROLES} == expected
    assert set().union(*expected.values()) | MOVED_BY_THE_PROCESS >= own(own_registry())
