"""Completions that workers report over Redis: checked against the object store and the owners of their generations."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from gengui_stream.bridge.dead_statuses import DeadStatuses
from gengui_stream.bridge.messages import DEAD_STREAM, STATUS_GROUP, STATUS_STREAM
from gengui_stream.bridge.run import run_bridge
from gengui_stream.domain.generation.state import Status
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ProducerStreams, StoredStream
from gengui_stream.settings import Settings
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, logged, running, state_of
from tests.integration.silent_proxy import SilentProxy, silent_proxy

pytestmark = pytest.mark.stack


Silent: TypeAlias = Callable[[Settings], AbstractAsyncContextManager[tuple[Settings, SilentProxy]]]


def bridged(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("gengui_statuses_bridged_total", {"outcome": outcome}) or 0


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STATUS_STREAM, STATUS_GROUP))["pending"])


async def say(redis: Redis, generation_id: UUID, status: str, **fields: str) -> str:
    message = {"mediaId": str(generation_id), "status": status, **fields}
    return await ProducerStreams(shared(redis)).add(STATUS_STREAM, message)


@asynccontextmanager
async def silent_store(settings: Settings) -> AsyncIterator[tuple[Settings, SilentProxy]]:
    """A bridge's settings, whose object store is behind a proxy."""
    found = urlsplit(settings.s3_endpoint or "")
    async with silent_proxy(str(found.hostname), found.port or 80) as proxy:
        yield settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}", "job_lease_s": 1.0}), proxy


@asynccontextmanager
async def silent_database(settings: Settings) -> AsyncIterator[tuple[Settings, SilentProxy]]:
    found = urlsplit(settings.database_dsn)
    async with silent_proxy(str(found.hostname), found.port or 5432) as proxy:
        login = found.netloc.rpartition("@")[0]
        url = found._replace(netloc=f"{login}@127.0.0.1:{proxy.port}").geturl()
        yield settings.model_copy(update={"database_url": SecretStr(url), "job_lease_s": 1.0}), proxy


@pytest.mark.parametrize("silent", [silent_store, silent_database], ids=["store", "database"])
async def test_while_a_server_is_silent_completions_wait_and_hold_nothing_else(
    settings: Settings, pool: Pool, event_log: EventLog, silent: Silent
) -> None:
    done, others, metrics = a_request(), [a_request() for _ in range(3)], new_metrics()
    await event_log.append_many([done, *others])
    key = media_key(done.owner_id, done.generation_id, "image/png")
    async with (
        open_object_store(settings) as store,
        silent(settings) as (astray, proxy),
        projecting(settings),
        opened_client(settings) as redis,
    ):
        await store.put(key, b"picture", "image/png")
        proxy.speaks.clear()
        await say(redis, done.generation_id, "completed", s3Key=key)
        await say(redis, done.generation_id, "failed", error="after the end")
        async with running(run_bridge, astray, metrics):
            for number, request in enumerate(others):

                async def processed(request_id: UUID = request.generation_id) -> bool:
                    state = await state_of(pool, request_id)
                    return state is not None and state.status is Status.PROCESSING

                await say(redis, request.generation_id, "processing")
                await eventually(processed)
                assert await pending(redis) == 2, f"the completion is kept, {number}"
            assert bridged(metrics, "postponed") >= 2
            assert bridged(metrics, "appended") == len(others)
            proxy.speaks.set()

            async def completed() -> bool:
                state = await state_of(pool, done.generation_id)
                return state is not None and state.status is Status.COMPLETED and await pending(redis) == 0

            await eventually(completed)
    assert bridged(metrics, "appended") == len(others) + 2
    types = [event.type for event in await logged(settings) if event.generation_id == done.generation_id]
    assert types == ["generation.requested", "generation.completed", "generation.failed"]


async def test_the_object_of_another_user_is_refused(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    request, unknown, metrics = a_request(), new_id(), new_metrics()
    await event_log.append(request)
    foreign = media_key(new_id(), request.generation_id, "image/png")
    own = media_key(request.owner_id, request.generation_id, "image/png")
    async with (
        open_object_store(settings) as store,
        projecting(settings),
        opened_client(settings) as redis,
        running(run_bridge, settings, metrics),
    ):
        for key in (foreign, own):
            await store.put(key, b"picture", "image/png")
        await eventually(lambda: state_of(pool, request.generation_id))
        refused = await say(redis, request.generation_id, "completed", s3Key=foreign)
        nobodys = await say(redis, unknown, "completed", s3Key=foreign)
        await say(redis, new_id(), "completed", s3Key="elsewhere.png")  # of no user: for the fold to ignore

        async def all_are_done() -> bool:
            return bridged(metrics, "dead_lettered") == 2 and bridged(metrics, "object_missing") == 1

        await eventually(all_are_done)
        dead = await DeadStatuses(StoredStream(shared(redis), DEAD_STREAM)).listed(10)
        assert {(each.entry_id, each.reason, each.message["s3Key"]) for each in dead} == {
            (refused, "foreign_s3_key", foreign),
            (nobodys, "unknown_generation", foreign),
        }
        state = await state_of(pool, request.generation_id)
        assert state is not None
        assert not state.terminal
        await say(redis, request.generation_id, "completed", s3Key=own)

        async def completed() -> bool:
            state = await state_of(pool, request.generation_id)
            return state is not None and state.status is Status.COMPLETED

        await eventually(completed)


async def test_while_the_projections_are_behind_a_completion_waits_for_its_owner(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Else it could give the generation the object of another user. What needs no owner goes on."""
    hasty = settings.model_copy(update={"job_lease_s": 0.5})
    wrong, right, metrics = a_request(), a_request(), new_metrics()
    await event_log.append_many([wrong, right])
    foreign = media_key(new_id(), wrong.generation_id, "image/png")
    own = media_key(right.owner_id, right.generation_id, "image/png")
    async with open_object_store(settings) as store, opened_client(settings) as redis:
        for key in (foreign, own, "elsewhere.png"):
            await store.put(key, b"picture", "image/png")
        async with running(run_bridge, hasty, metrics):
            await say(redis, wrong.generation_id, "completed", s3Key=foreign)
            await say(redis, right.generation_id, "completed", s3Key=own)

            async def looked_at_again() -> bool:
                return bridged(metrics, "postponed") >= 4

            await eventually(looked_at_again)
            await say(redis, new_id(), "completed", s3Key="elsewhere.png")

            async def appended() -> bool:
                return bridged(metrics, "appended") == 1

            await eventually(appended)
            assert await pending(redis) == 2
            async with projecting(settings):

                async def completed() -> bool:
                    state = await state_of(pool, right.generation_id)
                    return state is not None and state.status is Status.COMPLETED and await pending(redis) == 0

                await eventually(completed)
                [dead] = await DeadStatuses(StoredStream(shared(redis), DEAD_STREAM)).listed(10)
                assert (dead.reason, dead.message["s3Key"]) == ("foreign_s3_key", foreign)
