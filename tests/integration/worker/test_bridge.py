"""The workers' status stream, end to end and with failures."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from gengui_stream.bridge.completions import CompletionChecks
from gengui_stream.bridge.messages import DEAD_STREAM, STATUS_GROUP, STATUS_STREAM
from gengui_stream.bridge.run import Bridge, run_bridge
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings
from gengui_stream.testing.object_store import InMemoryObjectStore
from schemas.events import Event, GenerationStarted
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, logged, private_redis, running, state_of

pytestmark = pytest.mark.stack


async def unacknowledged(redis: Redis) -> int:
    summary = await redis.xpending(STATUS_STREAM, STATUS_GROUP)
    return int(summary["pending"])


async def read_so_far(redis: Redis) -> str:
    [group] = await redis.xinfo_groups(STATUS_STREAM)
    return str(group["last-delivered-id"])


async def test_statuses_become_events_or_dead_letters(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    request = a_request()
    await event_log.append(request)
    media_id = str(request.generation_id)
    metrics = new_metrics()
    async with (
        open_object_store(settings) as store,
        projecting(settings),
        opened_client(settings) as redis,
        ConsumerStreams(settings, DEAD_STREAM, "readers", "test", longest_wait_s=1) as dead,
        running(run_bridge, settings, metrics),
    ):
        await store.put("users/u/media/a.png", b"picture", "image/png")
        producer = ProducerStreams(shared(redis))
        await producer.add(STATUS_STREAM, {"mediaId": media_id, "status": "processing"})
        odd = await producer.add(STATUS_STREAM, {"mediaId": "42", "status": "processing", "s3Key": "b\udcff"})
        await producer.add(STATUS_STREAM, {"mediaId": media_id, "status": "completed", "s3Key": "users/u/media/a.png"})

        async def is_completed() -> bool:
            state = await state_of(pool, request.generation_id)
            return state is not None and state.status is Status.COMPLETED

        await eventually(is_completed)
        await dead.create_group()
        [kept] = await dead.read_new(10)
        said = {"mediaId": "42", "s3Key": "b\udcff", "dead.reason": "bad_media_id", "dead.entry_id": odd}
        assert said.items() <= kept.fields.items()
        assert await unacknowledged(redis) == 0
    assert bridged(metrics) == {"appended": 2, "object_missing": 0, "dead_lettered": 1}
    assert metrics.registry.get_sample_value("gengui_dead_statuses") == 1
    state = await state_of(pool, request.generation_id)
    assert state is not None
    assert [output.object_key for output in state.outputs] == ["users/u/media/a.png"]
    async with opened_client(settings) as redis:
        assert await redis.xinfo_consumers(STATUS_STREAM, STATUS_GROUP) == []  # it took its name off the group


def bridged(metrics: Metrics) -> dict[str, float | None]:
    name = "gengui_statuses_bridged_total"
    outcomes = ("appended", "object_missing", "dead_lettered")
    return {outcome: metrics.registry.get_sample_value(name, {"outcome": outcome}) for outcome in outcomes}


async def test_a_picture_that_is_not_there_fails_its_generation(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    metrics, requests = new_metrics(), [a_request() for _ in range(3)]
    await event_log.append_many(requests)
    keys = ["nosuch.png", "https://bucket.example/users/x.png", "x/../users/b/media/c.png"]
    async with projecting(settings), opened_client(settings) as redis, running(run_bridge, settings, metrics):
        for request, key in zip(requests, keys, strict=True):
            status = {"mediaId": str(request.generation_id), "status": "completed", "s3Key": key}
            await ProducerStreams(shared(redis)).add(STATUS_STREAM, status)

        async def ended() -> bool:
            states = [await state_of(pool, request.generation_id) for request in requests]
            return all(state is not None and state.terminal for state in states)

        await eventually(ended)
    for request, key in zip(requests, keys, strict=True):
        state = await state_of(pool, request.generation_id)
        assert state is not None
        assert state.error is not None
        assert (state.status, state.error.code, state.outputs) == (Status.FAILED, "object_missing", ())
        assert key in state.error.message
    assert bridged(metrics) == {"appended": 0, "object_missing": 3, "dead_lettered": 0}


async def test_what_a_dead_process_left_pending_is_claimed(settings: Settings) -> None:
    member = ConsumerStreams(settings, STATUS_STREAM, STATUS_GROUP, "dead", longest_wait_s=1)
    async with opened_client(settings) as redis, member as dead:
        await dead.create_group()
        media_ids = {str(uuid4()) for _ in range(20)}
        await ProducerStreams(shared(redis)).add_many(
            STATUS_STREAM, [{"mediaId": media_id, "status": "processing"} for media_id in media_ids]
        )
        assert len(await dead.read_new(100)) == 20

        async def all_done() -> bool:
            return await unacknowledged(redis) == 0

        async with running(run_bridge, settings.model_copy(update={"job_lease_s": 1.0})):
            await eventually(all_done)
    assert {str(event.generation_id) for event in await logged(settings)} == media_ids


class NoGenerations:
    """A projection without generations."""

    async def of(self, generation_ids: Collection[UUID]) -> Mapping[UUID, UUID | None]:
        return {}


class FailingLog:
    """A log that is unavailable for some calls."""

    def __init__(self, log: EventLog, failures: int) -> None:
        self._log = log
        self._failures = failures

    async def append(self, event: Event) -> Position:
        return (await self.append_many([event]))[0]

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        if self._failures:
            self._failures -= 1
            raise TransientError("no broker")
        return await self._log.append_many(events)


async def test_nothing_is_acknowledged_before_it_is_appended(settings: Settings, event_log: EventLog) -> None:
    async with (
        opened_client(settings) as redis,
        ConsumerStreams(settings, STATUS_STREAM, STATUS_GROUP, "me", longest_wait_s=1) as consumer,
    ):
        await consumer.create_group()
        producer = ProducerStreams(shared(redis))
        bridge = Bridge(
            consumer,
            producer,
            FailingLog(event_log, failures=1),
            CompletionChecks(InMemoryObjectStore(), NoGenerations()),
            new_metrics(),
            claim_idle_s=60,
            kept_s=3_600,
        )
        await producer.add_many(STATUS_STREAM, [{"mediaId": str(uuid4()), "status": "processing"}, {"other": "1"}])
        entries = await bridge.next_entries()
        with pytest.raises(TransientError):
            await bridge.deliver(entries)
        assert (await unacknowledged(redis), await redis.xlen(DEAD_STREAM)) == (2, 0)
        await bridge.deliver(entries)
        assert (await unacknowledged(redis), await redis.xlen(DEAD_STREAM)) == (0, 1)
    assert [type(event) for event in await logged(settings)] == [GenerationStarted]


async def test_it_continues_once_redis_is_available(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        mine = server.settings(settings, job_lease_s=1.0)
        async with running(run_bridge, mine), opened_client(mine) as redis:  # Redis is not up yet
            await server.start()
            media_ids = [str(uuid4()) for _ in range(3)]

            async def is_read(entry_id: str) -> bool:
                return await read_so_far(redis) == entry_id and await unacknowledged(redis) == 0

            for media_id in media_ids:
                await eventually(lambda: redis.exists(STATUS_STREAM))  # the bridge has made the group
                entry = await ProducerStreams(shared(redis)).add(
                    STATUS_STREAM, {"mediaId": media_id, "status": "processing"}
                )
                await eventually(partial(is_read, entry))
                await server.kill()
                await server.start()
    assert {str(event.generation_id) for event in await logged(settings)} == set(media_ids)


async def test_old_entries_leave_the_stream_once_every_group_has_acknowledged_them(settings: Settings) -> None:
    async with (
        opened_client(settings) as redis,
        ConsumerStreams(settings, STATUS_STREAM, STATUS_GROUP, "me", longest_wait_s=1) as ours,
        ConsumerStreams(settings, STATUS_STREAM, "others", "me", longest_wait_s=1) as others,
    ):
        assert await ours.trim(0) == 0, "there is no stream yet"
        for consumer in (ours, others):
            await consumer.create_group()
        ids = await ProducerStreams(shared(redis)).add_many(STATUS_STREAM, [{"n": str(number)} for number in range(4)])
        await redis.xadd(STATUS_STREAM, {"n": "the future"}, id="99999999999999-1")
        for consumer, acknowledged in ((ours, ids[:3]), (others, ids)):
            await consumer.read_new(10)
            await consumer.ack(acknowledged)
        assert await ours.trim(3_600_000) == 0, "they are not old"
        await eventually(lambda: _in_a_later_second(redis, ids[-1]))
        assert await ours.trim(0) == 3
        assert [entry_id for entry_id, _ in await redis.xrange(STATUS_STREAM) or ()] == [ids[3], "99999999999999-1"]


async def _in_a_later_second(redis: Redis, entry_id: str) -> bool:
    seconds, _ = await redis.time()
    return bool(int(seconds) * 1000 > int(entry_id.split("-", maxsplit=1)[0]))
