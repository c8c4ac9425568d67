"""faust's Kafka transport, corrected where this system depends on it. For faust-streaming 0.15.3 with aiokafka 0.14.

1. Consuming starts where `Positions` says, whatever offsets the consumer group has committed.
2. What is committed to Kafka never passes a record that is still being worked on, as faust's `_new_offset` and
   `_add_gap` let it; with `Positions` it is what they say is done.
3. The end of a changelog is the high watermark of a fetch (see consumer_thread.py).
4. One message a fetched batch, no sleeping where records wait, short waits at the broker.
5. A gap in what was fetched is read again for a while, and then ends the process: aiokafka goes on behind it.
6. A membership that the broker refuses for good ends the process; faust would wait for partitions for ever.

tests/integration/test_agents_faults.py shows each fault of faust's and that it cannot bite here.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from mode import Service
from mode.types import ServiceT
from yarl import URL

from agents.batches import BatchMessage, RecordBatch
from agents.consumer_thread import BatchThread, DaemonThread
from gengui_stream.errors import BugError
from gengui_stream.log.connection import connection
from gengui_stream.log.gaps import Gaps, first_gap
from gengui_stream.projections.folding import Record
from gengui_stream.settings import Settings

IDLE_S: Final = 0.2
GROUP_CHECK_S: Final = 1.0

Cut: TypeAlias = Callable[[Sequence[Record]], Iterable[Sequence[Record]]]
"""How what one fetch found in a partition is cut into batches."""


class Positions(Protocol):
    """Where consuming starts and how far it is done, in place of the consumer group's committed offsets."""

    @property
    def epoch(self) -> int:
        """Changes with every claim: a batch of another epoch is not to be worked on."""

    async def claim(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Takes over exactly these partitions; the next offset to read of each."""

    def release(self) -> None:
        """Partitions are about to be taken away: start nothing new."""

    def done(self, partition: int) -> int | None:
        """The offset after the last record that is done for good; None for a partition of another."""


class BatchConsumer(driver.Consumer):
    """Delivers the log in batches (and changelogs, when tables recover, record by record)."""

    transport: "BatchTransport"
    _thread: BatchThread

    def _new_consumer_thread(self) -> BatchThread:
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._expected: dict[TP, int] = {}
        self._gaps = Gaps()
        self._epoch = 0
        thread_loop = uvloop.new_event_loop()
        thread = BatchThread(self, loop=self.loop, thread_loop=thread_loop, beacon=self.beacon, Worker=DaemonThread)
        thread.settings = self.transport.settings
        return thread

    @Service.task
    async def _watch_group(self) -> None:
        while not self.should_stop:
            await self.sleep(GROUP_CHECK_S)
            await self._thread.check_group()

    # where consuming starts

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Called by faust once a rebalance is over, before anything flows again."""
        partitions = [tp for tp in self.assignment() if tp.topic == self.transport.topic]
        starts = await self._starts(partitions)
        self._delivered.clear()
        self._expected = dict(starts)
        await self._thread.seek_to(starts, self._epoch)
        return starts

    async def _starts(self, partitions: Sequence[TP]) -> dict[TP, int]:
        positions = self.transport.positions
        if positions is None:
            self._epoch += 1
            return await self._thread.committed(partitions)
        offsets = await positions.claim({tp.partition for tp in partitions})
        self._epoch = positions.epoch
        return {tp: offsets[tp.partition] for tp in partitions}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.transport.positions is not None:
            self.transport.positions.release()
        await super().on_partitions_revoked(revoked)

    # what is committed

    def _new_offset(self, tp: TP) -> int | None:
        """The offset up to which everything delivered is done. Kafka's number is a hint for lag tools alone."""
        self._acked[tp].clear()
        if self.transport.positions is not None:
            self._acked_index[tp].clear()
            return self.transport.positions.done(tp.partition)
        delivered, acked = self._delivered[tp], self._acked_index[tp]
        last: int | None = None
        while delivered and delivered[0] in acked:
            last = delivered.popleft()
            acked.discard(last)
        return None if last is None else last + 1

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: delivery waits for room in the agent's queue, which is all the back-pressure there is to be.
        faust would stop fetching the partition and, with all stopped, sleep for a second."""

    # delivery

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                for message in await self._next_messages():
                    await self._deliver(message)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _next_messages(self) -> Sequence[ConsumerMessage]:
        if not self.flow_active:
            await self._until_flowing()
        partitions = set(self._get_active_partitions())
        if not partitions:  # more processes than partitions
            await self.sleep(IDLE_S)
            return ()
        epoch, fetched = await self._thread.fetch(partitions)
        if not self.flow_active:
            await self._until_flowing()
        if epoch != self._epoch:  # fetched before the last seek: those records come again
            return ()
        self._check_ends()
        found = {TP(*at): self._unbroken(TP(*at), records) for at, records in fetched.items()}
        messages = [message for tp, records in found.items() for message in self._messages(tp, records)]
        for message in messages[:-1]:
            if isinstance(message, BatchMessage):
                message.batch = replace(message.batch, followed=True)
        if again := {tp: self._expected[tp] for tp in found if len(found[tp]) < len(fetched[TopicPartition(*tp)])}:
            await self._thread.seek_again(again, epoch)
        return messages

    async def _until_flowing(self) -> None:
        while not (self.flow_active or self.should_stop):
            await self.wait_first(self.can_resume_flow.wait(), timeout=IDLE_S)

    def _unbroken(self, tp: TP, records: Sequence[Record]) -> Sequence[Record]:
        """What comes before a gap; the rest is to be read again."""
        if tp.topic != self.transport.topic:
            return records
        expected = self._expected.setdefault(tp, records[0].offset)
        found = self._gaps.unbroken(tp.partition, expected, records, time.monotonic())
        if found:
            self._check_whole(tp, found)
            self._expected[tp] = found[-1].offset + 1
        return found

    def _messages(self, tp: TP, records: Sequence[Record]) -> Iterator[ConsumerMessage]:
        if tp.topic != self.transport.topic:
            yield from (self._to_message(tp, record) for record in records)
            return
        for part in self.transport.cut(records):
            batch = RecordBatch(self._epoch, tp.partition, part)
            yield BatchMessage.of(tp.topic, batch, self.app.consumer_generation_id)

    def end_of(self, tp: TP) -> int | None:
        """The high watermark as last fetched; None before the first fetch, and for what another process has now."""
        try:
            end: int | None = self.highwater(tp)
        except AssertionError:  # aiokafka's way to say that it is not assigned
            return None
        return end

    def _check_ends(self) -> None:
        """A log that ends before what was read of it is another log: its records would be taken for old ones."""
        for tp, expected in self._expected.items():
            end = self.end_of(tp)
            if end is not None and end < expected and self.transport.positions is not None:
                raise BugError(f"{tp.topic}/{tp.partition}: expected offset {expected}, the log ends at {end}")

    def _check_whole(self, tp: TP, records: Sequence[Record]) -> None:
        """aiokafka resets a position that the log does not have (any more) in silence, and goes on behind a record that
        is gone: where that must not happen, it ends the process."""
        at = first_gap(self._expected[tp], records)
        if at is not None and self.transport.positions is not None:
            expected, found = self._expected[tp] + at, records[at].offset
            raise BugError(f"{tp.topic}/{tp.partition}: expected offset {expected}, the log went on at {found}")

    async def _deliver(self, message: ConsumerMessage) -> None:
        if self.transport.positions is None:
            self._delivered[message.tp].append(message.offset)
        self._acked_index[message.tp].discard(message.offset)
        await self.callback(message)


class BatchProducer(driver.Producer):
    """Connects like every other Kafka client of ours."""

    transport: "BatchTransport"

    def _settings_auth(self) -> Mapping[str, object]:
        return {
            name: value for name, value in connection(self.transport.settings).items() if name != "bootstrap_servers"
        }


class BatchTransport(driver.Transport):
    """The transport of an app that consumes the log. Without `positions`, Kafka's committed offsets count."""

    Consumer = BatchConsumer
    Producer = BatchProducer

    def __init__(
        self, url: list[URL], app: AppT, settings: Settings, cut: Cut, positions: Positions | None = None
    ) -> None:
        super().__init__(url, app)
        self.settings = settings
        self.topic = settings.events_topic
        self.cut = cut
        self.positions = positions
