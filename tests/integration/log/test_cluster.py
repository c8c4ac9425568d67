"""Three brokers, of which one falls silent and one is killed: the short form of `make test-cluster`, for the log
alone."""

import asyncio
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import psutil
import pytest

from api.server import APPEND_WITHIN_S
from gengui_stream.dev.kafka.properties import NODE_ID
from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.doctor.servers.kafka import evaluate
from gengui_stream.errors import TransientError
from gengui_stream.log.codec import decode
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.inspection import inspect_log, replica_brokers
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.log.topics import check_topic, ensure_topic
from gengui_stream.settings import Settings, load_settings
from schemas.events import Event
from tests.cluster.brokers import BROKERS, Cluster
from tests.integration.running import a_request, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

GAP_MAX_S = 20.0
"""A client waits 6 s for a confirmation and 4 s for a broker that names the leader; the rest is for a busy machine.
With the time-outs of aiokafka it would be 40 s and more."""

PROBE_S = 2.0
"""The time of a check of `/readyz`."""


@pytest.fixture(scope="module")
def cluster(apache_kafka: None) -> Iterator[Cluster]:
    with temporary_directory("gengui-cluster-") as directory:
        made = Cluster(directory)
        try:
            asyncio.run(made.start())
            yield made
        finally:
            asyncio.run(made.kill())


@pytest.fixture
def replicated(cluster: Cluster) -> Settings:
    """With a topic of its own, and every broker."""
    for server in cluster.servers:
        if not server.child.alive:
            asyncio.run(server.start())
    made = load_settings({**cluster.environ, "EVENTS_TOPIC": f"t-{uuid.uuid4()}"}, env_files=())
    asyncio.run(ensure_topic(made))
    return made


class Traffic:
    """Appends to every partition, one event after the other, and reads them. `gaps`: the longest time without a read
    event, by partition."""

    def __init__(self, settings: Settings, log: EventLog, reader: LogReader) -> None:
        self._partitions = range(settings.events_partitions)
        self._log, self._reader = log, reader
        self.confirmed: list[UUID] = []
        self.repeated: set[UUID] = set()
        self._last: dict[int, float] = {}
        self.gaps = dict.fromkeys(self._partitions, 0.0)

    async def append(self) -> None:
        while True:
            request = a_request()
            while not await self._is_appended(request):
                self.repeated.add(request.id)
            self.confirmed.append(request.id)

    async def _is_appended(self, event: Event) -> bool:
        try:
            await self._log.append(event)
        except TransientError:
            return False
        return True

    async def read(self) -> None:
        async for records in self._reader.follow(timeout_ms=100):
            for record in records:
                now = time.monotonic()
                before = self._last.get(record.partition, now)
                self.gaps[record.partition] = max(self.gaps[record.partition], now - before)
                self._last[record.partition] = now

    async def on_every_partition(self, since: float) -> bool:
        return all(self._last.get(partition, 0.0) > since for partition in self._partitions)


@asynccontextmanager
async def traffic(settings: Settings) -> AsyncIterator[Traffic]:
    async with EventLog(settings, append_s=APPEND_WITHIN_S) as log, open_reader(settings) as reader:
        flowing = Traffic(settings, log, reader)
        tasks = [asyncio.ensure_future(flowing.append()) for _ in range(8)]
        tasks.append(asyncio.ensure_future(flowing.read()))
        try:
            await eventually(lambda: flowing.on_every_partition(0.0))
            yield flowing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_an_event_is_confirmed_once_two_brokers_have_it(replicated: Settings) -> None:
    facts = await inspect_log(replicated, ())
    assert {len(one.replicas) for one in facts.partitions} == {BROKERS}
    assert facts.configuration["min.insync.replicas"] == "2"
    [replication] = [one for one in evaluate(facts, replicated) if one.name == "kafka.replication"]
    assert replication.detail == "3 replicas, min.insync.replicas 2"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_the_others_go_on_when_the_leader_of_a_partition_is_lost(
    cluster: Cluster, replicated: Settings, how: signal.Signals
) -> None:
    """Nothing that was confirmed is lost, and the cluster counts as ready again while that broker is unavailable."""
    server = cluster.server(await asyncio.to_thread(cluster.leader, replicated.events_topic, 0))
    assert server.child.pid is not None
    broker = psutil.Process(server.child.pid)
    async with traffic(replicated) as flowing:
        lost_at = time.monotonic()
        broker.send_signal(how)
        try:
            await eventually(lambda: flowing.on_every_partition(lost_at + PROBE_S), within_s=3 * GAP_MAX_S)
            for _ in range(2 * BROKERS):  # each asks the brokers in another order
                async with asyncio.timeout(PROBE_S):
                    await check_topic(replicated)
                async with asyncio.timeout(PROBE_S):
                    await replica_brokers(replicated)
            await eventually(lambda: is_known_to_lack_events(replicated, NODE_ID + cluster.servers.index(server)))
        finally:
            if how is signal.SIGSTOP:
                broker.send_signal(signal.SIGCONT)
        assert max(flowing.gaps.values()) < GAP_MAX_S, flowing.gaps
    if how is signal.SIGSTOP:  # until then it answers as if it still led
        assert await cluster.until_in_sync([replicated.events_topic], within_s=60)
    found = await _logged(replicated)
    assert set(flowing.confirmed) <= set(found)
    assert {id_ for id_, count in found.items() if count > 1} <= flowing.repeated


async def is_known_to_lack_events(settings: Settings, node_id: int) -> bool:
    """That broker, and no other. For its session, the others name it to a client, which may then ask it."""
    try:
        brokers = await replica_brokers(settings)
    except TransientError:
        return False
    return [broker.id for broker in brokers if broker.out_of_sync] == [node_id]


async def _logged(settings: Settings) -> Counter[UUID]:
    found: Counter[UUID] = Counter()
    async with open_reader(settings) as reader:
        async for records in reader.until_end():
            decoded = [decode(record.key, record.value) for record in records]
            found.update(event.id for event in decoded if isinstance(event, Event))
    return found
