"""The thread in which faust lets aiokafka fetch: its own loop, so that heartbeats go on while the agents compute."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, InvalidSessionTimeoutError, KafkaError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Transport
from faust.types import TP
from mode.threads import ServiceThread, WorkerThread

from agents.assignor import Assignor, WatchfulAssignor
from agents.raw_records import RawTopic, offer_raw_records
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.log.connection import connection
from gengui_stream.projections.folding import Record
from gengui_stream.settings import Settings

POLL_S: Final = 1.0
FETCH_MAX_WAIT_MS: Final = 20
"""aiokafka asks a broker for one set of partitions at a time: while that waits, no other partition is fetched."""

FETCH_MAX_BYTES: Final = 2 * 1024 * 1024
MAX_POLL_INTERVAL_MS: Final = 24 * 3600 * 1000
"""A wait for PostgreSQL, however long, must not cost the membership: who is fenced is decided there, not by Kafka."""

METADATA_MAX_AGE_MS: Final = 5_000
"""A leader of the group that was refused the topic's metadata hands out no partitions at all, until it asks again (see
assignor.py): by itself after five minutes."""

WATERMARK_S: Final = 30.0


def _let_leave(coordinator: GroupCoordinator) -> None:
    """aiokafka leaves the group only from generation 1 on, and the embedded broker counts from 0."""
    if coordinator.generation == 0:
        coordinator.generation = 1


class DaemonThread(WorkerThread):
    """A thread that hangs must neither keep a crashed process alive nor block the loop that wants to stop it."""

    def __init__(self, service: ServiceThread) -> None:
        super().__init__(service)
        self.daemon = True

    def stop(self) -> None:
        self.is_stopped.wait(timeout=1.0)


class BatchThread(AIOKafkaConsumerThread):
    """Fetches whole batches and marks each with the epoch of the last seek: what was fetched before is told apart."""

    settings: Settings
    _watchful: WatchfulAssignor
    _epoch = 0

    def _start_thread(self) -> None:
        """A loop that it was given, mode leaves open."""
        try:
            super()._start_thread()
        finally:
            self.thread_loop.close()

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        """As faust does it, but for what faust leaves no setting: our connection, how long it waits, raw records."""
        has_tables = bool(self.app.tables.changelog_topics)
        self._assignor = self.app.assignor if has_tables else RoundRobinPartitionAssignor
        self._watchful = WatchfulAssignor(cast(Assignor, self._assignor))
        session_ms = self.settings.kafka_session_timeout_s * 1000
        offer_raw_records()
        return AIOKafkaConsumer(
            **connection(self.settings),
            client_id=self.app.conf.broker_client_id,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[self._watchful],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            key_deserializer=RawTopic(self.settings.events_topic),
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            max_partition_fetch_bytes=FETCH_MAX_BYTES,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            rebalance_timeout_ms=session_ms,
        )

    def _crash(self, reason: BaseException) -> None:
        """What waits for it here, wakes up here: the crash may be another thread's."""
        try:
            self.thread_loop.call_soon_threadsafe(super()._crash, reason)
        except RuntimeError:  # closed: nobody waits there any more
            super()._crash(reason)

    def close(self) -> None:
        """Nothing: the thread closes the consumer as it stops. When partitions come while the app stops, faust closes
        it out of the app's thread, and two threads in one loop of uvloop can end the process with a memory fault."""

    async def on_thread_stop(self) -> None:
        """A member that does not leave keeps its successor waiting for the session's end."""
        coordinator = self._coordinator
        if coordinator is not None:
            _let_leave(coordinator)
        await super().on_thread_stop()

    @property
    def _coordinator(self) -> GroupCoordinator | None:
        return self._ensure_consumer()._coordinator  # noqa: SLF001 - as aiokafka's own getmany does

    async def check_group(self) -> None:
        """Raises what ended this process's membership for good. aiokafka says so when it is asked for records, but
        faust asks its fetcher, and not at all while it has no partitions: it would wait for ever."""
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        coordinator = self._coordinator
        if coordinator is None:
            return
        self._check_errors(coordinator)
        unknown = self._watchful.unknown
        if unknown and all(self._ensure_consumer().partitions_for_topic(topic) for topic in unknown):
            self._watchful.unknown = frozenset()
            structlog.get_logger(__name__).warning("assigned_without_metadata", topics=sorted(unknown))
            _let_leave(coordinator)
            await coordinator._maybe_leave_group()  # noqa: SLF001 - and joins again at once

    def _check_errors(self, coordinator: GroupCoordinator) -> None:
        try:
            coordinator.check_errors()
        except InvalidSessionTimeoutError as error:
            fault = (
                f"KAFKA_SESSION_TIMEOUT_S: the broker does not take {self.settings.kafka_session_timeout_s}; its own "
                "group.min.session.timeout.ms and group.max.session.timeout.ms say what it takes"
            )
            raise ConfigurationError([fault]) from error
        except KafkaError as error:
            if not error.retriable:
                raise
            structlog.get_logger(__name__).warning("group_trouble", error=repr(error))

    async def fetch(self, partitions: set[TP]) -> tuple[int, Mapping[TopicPartition, Sequence[Record]]]:
        """Everything fetched of these partitions, and the epoch of its positions; nothing after `POLL_S`."""
        answer: tuple[int, Mapping[TopicPartition, Sequence[Record]]]
        answer = await self.call_thread(self._fetch, partitions)
        return answer

    async def _fetch(self, partitions: set[TP]) -> tuple[int, Mapping[TopicPartition, Sequence[Record]]]:
        records = await self._fetch_records(self._ensure_consumer(), partitions, timeout=POLL_S)
        return self._epoch, {TopicPartition(*tp): chunk for tp, chunk in records.items()}

    async def seek_to(self, offsets: Mapping[TP, int], epoch: int) -> None:
        await self.call_thread(self._seek_to, offsets, epoch)

    async def _seek_to(self, offsets: Mapping[TP, int], epoch: int) -> None:
        """Awaits nothing: no record is fetched between the new epoch and the new positions."""
        self._epoch = epoch
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)

    async def seek_again(self, offsets: Mapping[TP, int], epoch: int) -> None:
        """To positions of the same epoch; nothing when another one has begun meanwhile."""
        await self.call_thread(self._seek_again, offsets, epoch)

    async def _seek_again(self, offsets: Mapping[TP, int], epoch: int) -> None:
        here = self._ensure_consumer().assignment()
        if epoch == self._epoch:
            await self._seek_to({tp: offset for tp, offset in offsets.items() if TopicPartition(*tp) in here}, epoch)

    async def committed(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The group's committed offsets; 0 where there is none."""
        answer: dict[TP, int] = await self.call_thread(self._committed, partitions)
        return answer

    async def _committed(self, partitions: Iterable[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        return {tp: max(0, await consumer.committed(TopicPartition(*tp)) or 0) for tp in partitions}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Never the end of the process, as with faust: a second later the same commit is tried again."""
        consumer = self._ensure_consumer()
        assigned = {TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in self.assignment()}
        try:
            await consumer.commit(assigned)
        except (KafkaError, OSError) as error:
            structlog.get_logger(__name__).warning("offsets_not_committed", error=repr(error))
            return False
        return True

    async def _highwaters(self, partitions: Sequence[TP]) -> Mapping[TP, int]:
        """Watermarks as fetched: ListOffsets, which faust asks, is wrong on the embedded broker after a batch."""
        consumer = self._ensure_consumer()
        ends: dict[TP, int] = {}
        deadline = asyncio.get_running_loop().time() + WATERMARK_S
        while missing := [tp for tp in partitions if tp not in ends]:
            if asyncio.get_running_loop().time() > deadline:
                raise TransientError(f"the broker tells no high watermark of {missing}")
            try:
                known = {tp: consumer.highwater(TopicPartition(*tp)) for tp in missing}
            except AssertionError as error:  # not assigned any more; faust begins again on IllegalStateError
                raise IllegalStateError(str(error)) from error
            ends |= {tp: end for tp, end in known.items() if end is not None}
            await asyncio.sleep(0.01)
        return ends
