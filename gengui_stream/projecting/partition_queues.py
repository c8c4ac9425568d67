"""A queue of records for each partition, and at most two transactions at a time, each over all partitions with queued
records.

One transaction is folded while PostgreSQL commits the other, which gives most of the throughput on few cores. Records
that arrive meanwhile, of any partition, share the next: one of a few records costs about as much as one of a hundred.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from gengui_stream.errors import BugError, FencedError
from gengui_stream.log.ends import LogEnds
from gengui_stream.process.lifecycle import RetryLimit, ShutdownRequested, retry_transient
from gengui_stream.projecting.batches import BYTES_MAX, RecordBatch, bytes_of, fitting
from gengui_stream.projecting.progress.pauses import Pauses, keep_reading, no_pauses
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record

AT_ONCE: Final = 2
"""Transactions in progress: one being folded, one being committed. More would make each of them smaller."""

STALLED_S: Final = 5.0
"""Seconds. A transaction takes that long only when PostgreSQL or this process hangs."""

RETRY_MAX_S: Final = 600.0
"""Ten of the longest commands. Then the transaction itself is at fault, or a lock that an operator must find."""

Committed = Callable[[ProjectedBatch, float], None]
"""Called with each partition's committed batch and the seconds that its transaction took."""

_log: Final = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _PartitionQueue:
    """`expected`: the next offset. `working`: the records in a transaction. `stale`: a rebalance has revoked the
    partition; queued records are discarded, as the next owner reads them again."""

    partition: int
    done: int
    expected: int
    paused: bool
    queued: deque[Record] = field(default_factory=deque)
    queued_bytes: int = 0
    working: Sequence[Record] = ()
    capacity: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = False
    committed_at: float = field(default_factory=time.monotonic)

    def add(self, records: Sequence[Record]) -> None:
        """Raises BugError when an offset comes back: aiokafka restarts from the beginning without notice when the log
        does not have its position (any more), and old offsets of another log would be skipped. The projector checks for
        gaps."""
        if records[0].offset < self.expected:
            raise BugError(f"partition {self.partition}: expected offset {self.expected}, got {records[0].offset}")
        self.expected = records[-1].offset + 1
        self.queued.extend(records)
        self.queued_bytes += sum(map(bytes_of, records))

    def discard(self) -> None:
        self.stale = True
        self.queued.clear()
        self.queued_bytes = 0
        self.capacity.set()

    @property
    def ready(self) -> bool:
        return bool(self.queued) and not self.working and not self.paused

    def full(self, batch_max: int) -> bool:
        return len(self.queued) > batch_max or self.queued_bytes > BYTES_MAX

    def take(self, most: int, bytes_most: int) -> int:
        """Moves queued records into a transaction, at least one; returns their bytes."""
        self.working = tuple(self.queued.popleft() for _ in range(fitting(self.queued, most, bytes_most)))
        taken = sum(map(bytes_of, self.working))
        self.queued_bytes -= taken
        return taken


class PartitionQueues:
    """Connects a consumer to the projector: gives the consumer its start offsets, and the projector its batches."""

    def __init__(
        self,
        projector: Projector,
        committed: Committed,
        log_ends: LogEnds,
        batch_max: int,
        stop: asyncio.Event,
        *,
        retry_max_s: float = RETRY_MAX_S,
        pauses: Pauses = no_pauses,
    ) -> None:
        """`retry_max_s`: the longest that a transaction may fail while PostgreSQL answers."""
        self.epoch = 0
        self.paused: frozenset[int] = frozenset()
        self._pauses = pauses
        self._log_ends = log_ends
        self._projector = projector
        self._committed = committed
        self._batch_max = batch_max
        self._stop = stop
        self._limit = RetryLimit(retry_max_s, projector.reach)
        self._revocation = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._queues: dict[int, _PartitionQueue] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._in_progress = 0
        self._begun: set[float] = set()
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Queues run while the block does; an error in one stops the others and is raised here."""
        async with asyncio.TaskGroup() as self._group:
            works = (self._projector.keep_vouching(), keep_reading(self._pauses, self._heed))
            keeping = [self._group.create_task(work) for work in works]
            try:
                yield
            finally:
                for task in keeping:
                    task.cancel()

    async def assigned(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Waits for the transactions in progress, then claims the partitions, with retries while PostgreSQL is
        unavailable. Raises ShutdownRequested when they are revoked meanwhile."""
        self.revoked()
        revoked = self._revocation = asyncio.Event()
        await self.until_idle()
        starts = await retry_transient(lambda: self._claim(partitions, revoked), revoked, operation="claim partitions")
        if revoked.is_set():
            raise ShutdownRequested("claim partitions")
        self.epoch += 1
        self._queues = {
            each: _PartitionQueue(each, start, start, each in self.paused) for each, start in starts.items()
        }
        _log.info("partitions_claimed", starts=dict(starts), paused=sorted(self.paused & starts.keys()))
        return starts

    async def _claim(self, partitions: Collection[int], revoked: asyncio.Event) -> Mapping[int, int]:
        async with self._claiming:
            if revoked.is_set():
                raise ShutdownRequested("claim partitions")
            self.paused = frozenset(await self._pauses())
            return await self._projector.claim(partitions, await self._log_ends(partitions), self.paused)

    async def _heed(self, paused: frozenset[int]) -> None:
        """Raises TransientError, and may be repeated. Does nothing in a rebalance: the next claim reads the pauses. A
        partition whose last transaction is in progress is resumed after it, as its checkpoint is not known yet."""
        async with self._claiming:
            paused |= {each for each in self.paused if (queue := self._queues.get(each)) and queue.working}
            if paused == self.paused or self._revocation.is_set():
                return
            try:
                await self._projector.pause(paused - self.paused)
                await self._projector.resume(await self._log_ends(self.paused - paused))
            except FencedError:
                if not self._revocation.is_set():
                    raise
                return
            self.paused = paused
            for queue in self._queues.values():
                queue.paused = queue.partition in paused
                if queue.paused:
                    queue.capacity.set()
        _log.warning("pauses_changed", paused=sorted(paused))
        self._start()

    def revoked(self) -> None:
        self._revocation.set()
        for queue in self._queues.values():
            queue.discard()

    async def drain(self) -> None:
        """Returns once no transaction or claim is in progress and PostgreSQL is reachable. A process that joined the
        consumer group earlier could not project, and its late claims could fence the next owner of a partition."""
        await self.until_idle()
        async with self._claiming:
            pass
        with suppress(ShutdownRequested):
            await retry_transient(self._projector.reach, self._stop, operation="join the consumer group")

    async def until_idle(self) -> None:
        """Returns once no transaction is in progress."""
        while self._running:
            await asyncio.wait(set(self._running))

    def checkpoint(self, partition: int) -> int | None:
        queue = self._queues.get(partition)
        return queue.done if queue else None

    @property
    def stalled(self) -> bool:
        return self.work_age_s() > STALLED_S

    def work_age_s(self) -> float:
        """Seconds for which the oldest transaction has been in progress; 0 without any. May be called from any
        thread."""
        begun = min(tuple(self._begun), default=None)
        return 0.0 if begun is None else time.monotonic() - begun

    def oldest(self, partition: int) -> Record | None:
        """The first record that was delivered and is not committed."""
        queue = self._queues[partition]
        return next(iter(queue.working or queue.queued), None)

    def partitions(self) -> Collection[int]:
        return [partition for partition, queue in self._queues.items() if not queue.stale]

    async def submit(self, batch: RecordBatch) -> None:
        """Returns once the partition has capacity for another batch: a queue holds at most two transactions' records.
        Once the last batch of a fetch has arrived, a transaction starts with the queued records of every partition that
        has none in progress."""
        queue = self._queues.get(batch.partition)
        if queue is None or queue.stale or batch.epoch != self.epoch:
            return
        queue.add(batch.records)
        full = queue.full(self._batch_max)
        if full or not batch.more_in_fetch:
            self._start()
        if full and not queue.paused:  # a paused one holds what was on its way; nothing more is fetched
            queue.capacity.clear()
            await queue.capacity.wait()

    def _start(self) -> None:
        if self._group is None:
            raise BugError("a batch was submitted before the queues were opened")
        if self._in_progress == AT_ONCE or not any(queue.ready for queue in self._queues.values()):
            return
        self._in_progress += 1
        task = self._group.create_task(self._run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        while taken := self._take():
            await self._project(taken)
            for queue in taken:
                queue.working = ()
        self._in_progress -= 1

    def _take(self) -> Sequence[_PartitionQueue]:
        """At most one transaction's records; the partition whose last commit is oldest comes first."""
        taken: list[_PartitionQueue] = []
        left, bytes_left = self._batch_max, BYTES_MAX
        for queue in sorted(
            (queue for queue in self._queues.values() if queue.ready), key=lambda queue: queue.committed_at
        ):
            if left <= 0 or bytes_left <= 0:
                break
            bytes_left -= queue.take(left, bytes_left)
            left -= len(queue.working)
            taken.append(queue)
            if not queue.full(self._batch_max):
                queue.capacity.set()
        return taken

    async def _project(self, taken: Sequence[_PartitionQueue]) -> None:
        began = time.monotonic()
        self._begun.add(began)
        try:
            batches = await retry_transient(
                lambda: self._attempt(taken), self._stop, operation="project", limit=self._limit
            )
        except ShutdownRequested:
            self.revoked()
            return
        except FencedError:
            if not any(queue.stale for queue in taken):
                raise
            batches = ()
        finally:
            self._begun.discard(began)
        seconds = time.monotonic() - began
        for queue, batch in itertools.zip_longest(taken, batches):
            self._settle(queue, batch, seconds)

    async def _attempt(self, taken: Sequence[_PartitionQueue]) -> Sequence[ProjectedBatch]:
        """Empty when the partitions were revoked, as they all are together."""
        if any(queue.stale for queue in taken):
            return ()
        return await self._projector.project_all({queue.partition: queue.working for queue in taken})

    def _settle(self, queue: _PartitionQueue, batch: ProjectedBatch | None, seconds: float) -> None:
        if batch is None:
            first = queue.working[0].offset
            _log.info("batch_dropped", partition=queue.partition, offset=first, records=len(queue.working))
            return
        queue.done, queue.committed_at = batch.next_offset, time.monotonic()
        self._committed(batch, seconds)
