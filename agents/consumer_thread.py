"""The thread in which faust runs aiokafka: with its own event loop, so that heartbeats continue while the agents
compute."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Transport
from faust.types import TP
from mode.threads import ServiceThread, WorkerThread

from gengui_stream.errors import ConfigurationError
from gengui_stream.log.connection import connection
from gengui_stream.log.unpacking.fetched import RawTopic, offer_log_records
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings

FETCH_TIMEOUT_MS: Final = 1_000
FETCH_MAX_WAIT_MS: Final = 20
"""Milliseconds. aiokafka sends a broker one fetch at a time: while it waits, other partitions are not fetched."""

FETCH_MAX_BYTES: Final = 2 * 1024 * 1024
REBALANCE_TIMEOUT_MS: Final = 30_000
"""The longest time that a rebalance waits for a member with a transaction in progress. aiokafka gives up a request to
join after 40 s, its request time-out: the rebalance must have ended by then."""

NO_PARTITION: Final = TopicPartition("", 0)

Fetched = Mapping[TopicPartition, Sequence[Record]]


class DaemonThread(WorkerThread):
    """Daemonic, so that a hanging thread neither keeps a crashed process alive nor blocks the loop that stops it."""

    def __init__(self, service: ServiceThread) -> None:
        super().__init__(service)
        self.daemon = True


class BatchThread(AIOKafkaConsumerThread):
    """Fetches whole batches and marks each with the epoch of the last seek, which identifies records fetched before
    it."""

    settings: Settings
    _epoch = 0

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        """Like faust's, with what faust has no settings for: the connection, time-outs, and raw records."""
        has_tables = bool(self.app.tables.changelog_topics)
        offer_log_records()
        return AIOKafkaConsumer(
            **connection(self.settings),
            client_id=self.app.conf.broker_client_id,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[self.app.assignor if has_tables else RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            key_deserializer=RawTopic(self.settings.events_topic),
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            max_partition_fetch_bytes=FETCH_MAX_BYTES,
            max_poll_interval_ms=round(self.settings.kafka_max_poll_interval_s * 1000),
            session_timeout_ms=round(self.settings.kafka_session_timeout_s * 1000),
            heartbeat_interval_ms=round(self.settings.kafka_heartbeat_interval_s * 1000),
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        )

    def is_unused(self) -> bool:
        return self._thread is None

    def close(self) -> None:
        """Does nothing: the thread closes the consumer at its end, and leaves the group. When a rebalance begins while
        the app stops, faust considers a consumer closed that has not left the group, and the group waits for it."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: faust takes a partition for stuck when its last commit or event is old, as it also is after a
        silence, and logs that as an error. `/livez` and the lag report measure progress."""

    async def fetch(self, partitions: Iterable[TP]) -> tuple[int, Fetched]:
        """All fetched records of these partitions, with the epoch of their positions; empty after FETCH_TIMEOUT_MS."""
        answer: tuple[int, Fetched] = await self.call_thread(self._fetch, partitions)
        return answer

    async def _fetch(self, partitions: Iterable[TP]) -> tuple[int, Fetched]:
        if not self.consumer.flow_active:  # waits for the next assignment, which may wait for us
            return self._epoch, {}
        records = await self._poll(*(TopicPartition(*tp) for tp in partitions), timeout_ms=FETCH_TIMEOUT_MS)
        return self._epoch, records

    async def poll(self) -> None:
        """Reports to aiokafka that this member is alive, and takes no records. Returns after a rebalance in progress.
        Raises the error that ended the membership. Runs concurrently with the other calls of the thread."""
        polling = asyncio.run_coroutine_threadsafe(self._poll(NO_PARTITION), self.thread_loop)
        await asyncio.wrap_future(polling)

    async def _poll(self, *partitions: TopicPartition, timeout_ms: int = 0) -> Fetched:
        try:
            return await self._ensure_consumer().getmany(*partitions, timeout_ms=timeout_ms)
        except InvalidSessionTimeoutError as error:
            fault = (
                f"KAFKA_SESSION_TIMEOUT_S: the broker does not take {self.settings.kafka_session_timeout_s:g}; its own "
                "group.min.session.timeout.ms and group.max.session.timeout.ms say what it takes"
            )
            raise ConfigurationError([fault]) from error
        except KafkaError as error:
            if not error.retriable:
                raise
            structlog.get_logger(__name__).warning("group_trouble", error=repr(error))
            return {}

    async def ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        answer: dict[TP, int] = await self.call_thread(self._ends, partitions)
        return answer

    async def _ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        found = await self._ensure_consumer().end_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*at): end for at, end in found.items()}

    async def seek_to(self, offsets: Mapping[TP, int], epoch: int) -> None:
        await self.call_thread(self._seek_to, offsets, epoch)

    async def _seek_to(self, offsets: Mapping[TP, int], epoch: int) -> None:
        """Has no await: no record is fetched between the new epoch and the new positions."""
        self._epoch = epoch
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)

    async def committed(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The committed offsets of the group; 0 where there is none."""
        answer: dict[TP, int] = await self.call_thread(self._committed, partitions)
        return answer

    async def _committed(self, partitions: Iterable[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        return {tp: max(0, await consumer.committed(TopicPartition(*tp)) or 0) for tp in partitions}
