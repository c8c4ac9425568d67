"""Agents inside a test and as processes, and their progress."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from agents.app import log_topic, new_app
from agents.app_runner import run_app
from agents.project_events import add_project_events
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.log.connection import connection
from gengui_stream.log.ends import log_ends
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.batches import sliced
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from tests.integration.role_process import RoleProcess
from tests.integration.running import eventually


def _ignore_batch(batch: ProjectedBatch, seconds: float) -> None:
    """These tests need no notifications."""


class Stuck(Projector):
    """Its batches wait until `go_on` is set."""

    def __init__(self, pool: Pool, topic: str, timings: JobTimings) -> None:
        super().__init__(pool, topic, timings)
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        self.entered.set()
        await self.go_on.wait()
        return await super().project_all(batches)


def projector_app(settings: Settings, projector: Projector, stop: asyncio.Event, datadir: Path) -> faust.App:
    """`run_agents`'s, with a projector of the test's."""
    queues = PartitionQueues(projector, _ignore_batch, log_ends(settings), settings.projector_batch_max, stop)
    app = new_app(
        settings, settings.consumer_group, datadir, partial(sliced, size=settings.projector_batch_max), queues
    )
    add_project_events(app, log_topic(app, settings), queues)
    return app


async def run_projector(settings: Settings, projector: Projector, stop: asyncio.Event, datadir: Path) -> None:
    await run_app(projector_app(settings, projector, stop, datadir), stop, settings.shutdown_grace_s)


@dataclass(frozen=True, slots=True)
class Progress:
    """The sums over all partitions."""

    next_offset: int
    applied: int
    ignored: int
    dead_lettered: int

    @property
    def consistent(self) -> bool:
        return self.applied + self.ignored + self.dead_lettered == self.next_offset


async def progress(pool: Pool, settings: Settings) -> Progress:
    row = await pool.fetchrow(
        """SELECT coalesce(sum(next_offset), 0)::bigint, coalesce(sum(applied), 0)::bigint,
        coalesce(sum(ignored), 0)::bigint, coalesce(sum(dead_lettered), 0)::bigint
        FROM projections.checkpoints WHERE topic = $1""",
        settings.events_topic,
    )
    assert row is not None
    return Progress(*row)


async def committed(settings: Settings) -> dict[int, int]:
    """What the consumer group has committed to Kafka."""
    async with group_member(settings) as consumer:
        offsets = {p: await consumer.committed(at(settings, p)) for p in range(settings.events_partitions)}
    return {partition: offset or 0 for partition, offset in offsets.items()}


async def commit(settings: Settings, offsets: dict[int, int]) -> None:
    async with group_member(settings) as consumer:
        consumer.assign([at(settings, partition) for partition in offsets])
        await consumer.commit({at(settings, partition): offset for partition, offset in offsets.items()})


@asynccontextmanager
async def group_member(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**connection(settings), group_id=settings.consumer_group, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def group(settings: Settings) -> tuple[str, int]:
    """The state of the consumer group, and the number of its members."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        [response] = await admin.describe_consumer_groups([settings.consumer_group])
        [(_, _, state, _, _, members, *_)] = response.groups
        return state, len(members)
    except KafkaError as error:
        if not error.retriable:
            raise
        return repr(error), 0
    finally:
        await admin.close()


async def joined(settings: Settings, number: int = 1) -> None:
    async def stable() -> bool:
        return await group(settings) == ("Stable", number)

    await eventually(stable)


async def left_empty(settings: Settings) -> None:
    async def empty() -> bool:
        return await group(settings) == ("Empty", 0)

    await eventually(empty)


def at(settings: Settings, partition: int) -> TopicPartition:
    return TopicPartition(settings.events_topic, partition)


async def send_raw(settings: Settings, records: Sequence[tuple[bytes | None, bytes | None, int | None]]) -> None:
    """Key, value and timestamp unchanged: no code checks them before the append."""
    producer = AIOKafkaProducer(**connection(settings), max_request_size=4 * 1024 * 1024)
    await producer.start()
    try:
        for key, value, timestamp_ms in records:
            await producer.send_and_wait(settings.events_topic, value, key=key, timestamp_ms=timestamp_ms)
    finally:
        await producer.stop()


class AgentsProcess(RoleProcess):
    """`gengui-stream agents` as a process."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        super().__init__(settings, "agents", *arguments)


def delay_metadata(monkeypatch: pytest.MonkeyPatch, topic: str, answers: int) -> None:
    """As when a busy broker has answered that it made the topic, and its next answers do not have it yet."""
    send = AIOKafkaConnection.send
    left = itertools.count(answers, -1)

    async def without(answered: Awaitable[Any]) -> object:
        response = await answered
        if any(found[1] == topic for found in response.topics) and next(left) > 0:
            response.topics = [found for found in response.topics if found[1] != topic]
        return response

    def sending(self: AIOKafkaConnection, request: object, expect_response: bool = True) -> Awaitable[object]:
        answered = send(self, request, expect_response)
        return without(answered) if isinstance(request, MetadataRequest) else answered

    monkeypatch.setattr(AIOKafkaConnection, "send", sending)
