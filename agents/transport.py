"""faust's Kafka transport, corrected where this system depends on it. For faust-streaming 0.15.3 with aiokafka 0.14.

1. Consuming starts at the offsets of `PartitionProcessor`, whatever the consumer group has committed.
2. The committed offset never passes a record in progress, as faust's `_new_offset` and `_add_gap` allow; with
   `PartitionProcessor` it is the processor's checkpoint.
3. One message for each fetched batch, no pause while records are available, short waits at the broker.
4. A membership that the broker refuses for good ends the process; faust would wait for partitions forever.
5. A member that left the group after KAFKA_MAX_POLL_INTERVAL_S without progress joins again; faust's never does.

docs/adr/0002-faust-and-its-workarounds.md lists each override, with the test that fails without it.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from mode.types import ServiceT
from yarl import URL

from agents.batches import BatchMessage
from agents.consumer_thread import BatchThread, DaemonThread
from gengui_stream.process.lifecycle import ShutdownRequested
from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings

IDLE_S: Final = 0.2
POLL_S: Final = 0.5

BatchSplitter: TypeAlias = Callable[[Sequence[Record]], Iterable[Sequence[Record]]]
"""Splits the records of one partition in one fetch into batches."""


class PartitionProcessor(Protocol):
    """Controls where consuming starts and what is done, in place of the consumer group's committed offsets."""

    @property
    def epoch(self) -> int:
        """Changes with every claim: batches of another epoch must be ignored."""

    @property
    def paused(self) -> Collection[int]:
        """Partitions of which no record is to be fetched."""

    @property
    def stalled(self) -> bool:
        """Whether delivered records make no progress. A consumer that stops fetching leaves its group in the end."""

    async def assigned(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Claims exactly these partitions; returns the next offset of each. Raises ShutdownRequested when they are
        revoked meanwhile."""

    def revoked(self) -> None:
        """The partitions are about to be revoked: start no new work."""

    async def drain(self) -> None:
        """Returns once no work is in progress, and a claim is likely to succeed."""

    def checkpoint(self, partition: int) -> int | None:
        """The next offset after the records that are committed; None for a partition of another process."""


class BatchConsumer(driver.Consumer):
    """Delivers the log in batches, and changelogs, during the recovery of tables, record by record."""

    transport: "BatchTransport"
    _thread: BatchThread

    def _new_consumer_thread(self) -> BatchThread:
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._epoch = 0
        thread = BatchThread(self, loop=self.loop, beacon=self.beacon, Worker=DaemonThread)
        thread.settings = self.transport.settings
        return thread

    def close_unused(self) -> None:
        """Closes the event loop of a thread that was never started, because the producer failed before it."""
        if self._thread.is_unused():
            self._thread.thread_loop.close()

    # membership

    async def on_started(self) -> None:
        await super().on_started()
        self.add_future(self._poll_without_partitions())

    async def _poll_without_partitions(self) -> None:
        """Polls while nothing is assigned: faust does not, and would miss that the broker refuses the membership."""
        while not self.should_stop:
            if not self.assignment():
                await self._poll()
            await self.sleep(POLL_S)

    async def _poll(self) -> None:
        with suppress(ConsumerStoppedError):  # the thread is ending
            await self._thread.poll()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called when the group rebalances, and when this member has left it for lack of progress. It joins again once
        it can work: aiokafka joins at the next poll."""
        processor = self.transport.processor
        if processor is not None:
            processor.revoked()
        await super().on_partitions_revoked(revoked)
        if processor is not None:
            await processor.drain()
        self.add_future(self._poll())

    # where consuming starts

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Called by faust after a rebalance, before it resumes fetching."""
        partitions = [tp for tp in self.assignment() if tp.topic == self.transport.topic]
        starts = await self._starts(partitions)
        self._delivered.clear()
        await self._thread.seek_to(starts, self._epoch)
        return starts

    async def _starts(self, partitions: Sequence[TP]) -> dict[TP, int]:
        processor = self.transport.processor
        if processor is None:
            self._epoch += 1
            return await self._thread.committed(partitions)
        try:
            offsets = await processor.assigned({tp.partition for tp in partitions})
        except ShutdownRequested as error:
            raise IllegalStateError("revoked") from error  # tells faust that another rebalance has begun
        self._epoch = processor.epoch
        return {tp: offsets[tp.partition] for tp in partitions}

    # what is committed

    def _new_offset(self, tp: TP) -> int | None:
        """The next offset after the records that are done. Committed to Kafka only for tools that measure lag."""
        if self.crashed:  # the thread that commits is ending
            return None
        self._acked[tp].clear()
        if self.transport.processor is not None:
            self._acked_index[tp].clear()
            return self.transport.processor.checkpoint(tp.partition)
        delivered, acked = self._delivered[tp], self._acked_index[tp]
        last: int | None = None
        while delivered and delivered[0] in acked:
            last = delivered.popleft()
            acked.discard(last)
        return None if last is None else last + 1

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
        partitions = await self._fetchable()
        if not partitions:
            await self.sleep(IDLE_S)
            return ()
        epoch, fetched = await self._thread.fetch(partitions)
        if not self.flow_active:
            await self._until_flowing()
        if epoch != self._epoch:  # fetched before the last seek, and fetched again after it
            return ()
        found = {TP(*at): records for at, records in fetched.items()}
        messages = [message for tp, records in found.items() for message in self._messages(tp, records)]
        for message in messages[:-1]:
            if isinstance(message, BatchMessage):
                message.batch = replace(message.batch, more_in_fetch=True)
        return messages

    async def _fetchable(self) -> set[TP]:
        partitions, processor = set(self._get_active_partitions()), self.transport.processor
        if processor is None:
            return partitions
        if processor.stalled:
            return set()
        paused = {tp for tp in partitions if tp.partition in processor.paused}
        if paused == partitions:
            await self._poll()  # a pause is no lack of progress
        return partitions - paused

    async def ends_of(self, partitions: Collection[TP]) -> Mapping[TP, int]:
        """The current ends of partitions that are not fetched. Raises KafkaError when the broker does not answer."""
        return await self._thread.ends(partitions)

    async def _until_flowing(self) -> None:
        while not (self.flow_active or self.should_stop):
            await self.wait_first(self.can_resume_flow.wait(), timeout=IDLE_S)

    def _messages(self, tp: TP, records: Sequence[Record]) -> Iterator[ConsumerMessage]:
        if tp.topic != self.transport.topic:
            yield from (self._to_message(tp, record) for record in records)
            return
        for part in self.transport.cut(records):
            batch = RecordBatch(self._epoch, tp.partition, part)
            yield BatchMessage.of(tp.topic, batch, self.app.consumer_generation_id)

    def end_of(self, tp: TP) -> int | None:
        """The high watermark of the last fetch; None before the first fetch, and for partitions of other processes."""
        try:
            end: int | None = self.highwater(tp)
        except AssertionError:  # raised by aiokafka when it is not assigned
            return None
        return end

    async def _deliver(self, message: ConsumerMessage) -> None:
        if self.transport.processor is None:
            self._delivered[message.tp].append(message.offset)
        self._acked_index[message.tp].discard(message.offset)
        await self.callback(message)


class BatchTransport(driver.Transport):
    """The transport of an app that consumes the log. Without `processor` it uses the offsets committed to Kafka."""

    Consumer = BatchConsumer

    def __init__(
        self,
        url: list[URL],
        app: AppT,
        settings: Settings,
        cut: BatchSplitter,
        processor: PartitionProcessor | None = None,
    ) -> None:
        super().__init__(url, app)
        self.settings = settings
        self.topic = settings.events_topic
        self.cut = cut
        self.processor = processor
