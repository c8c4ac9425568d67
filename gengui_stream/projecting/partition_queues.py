"""A queue for each partition, and a few transactions at a time, each of every partition with queued records.

So one transaction is folded while PostgreSQL commits another, which is most of the throughput on few cores; and records
that arrive meanwhile, of whichever partition, share the next one: a transaction of few records costs about as much as
one of a hundred.
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
from gengui_stream.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projecting.projector import ProjectedBatch, Projector
from gengui_stream.projections.outcomes import Record

AT_ONCE: Final = 2
"""Transactions under way: one to be folded, one to be committed. More would each be of fewer records."""

STALLED_S: Final = 5.0
"""No transaction takes that long unless PostgreSQL, or this process, hangs."""

Committed = Callable[[ProjectedBatch, float], None]
"""Told of every partition's committed batch, and of the seconds it took."""

_log: Final = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _PartitionQueue:
    """`expected`: the next offset to come. `working`: what is in a transaction. `stale`: a rebalance came since; what
    waits is dropped, for its next owner reads it again."""

    partition: int
    done: int
    expected: int
    waiting: deque[Record] = field(default_factory=deque)
    working: Sequence[Record] = ()
    room: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = False
    moved: float = field(default_factory=time.monotonic)

    def add(self, records: Sequence[Record]) -> None:
        """aiokafka goes back to the beginning in silence where the log does not have its position (any more): another
        log's records would be taken for old ones. Gaps are the projector's to find."""
        if records[0].offset < self.expected:
            raise BugError(f"partition {self.partition}: expected offset {self.expected}, got {records[0].offset}")
        self.expected = records[-1].offset + 1
        self.waiting.extend(records)

    def drop(self) -> None:
        self.stale = True
        self.waiting.clear()
        self.room.set()

    @property
    def ready(self) -> bool:
        return bool(self.waiting) and not self.working

    def take(self, most: int) -> int:
        """How many records go into a transaction now."""
        self.working = tuple(itertools.islice(self.waiting, most))
        for _ in self.working:
            self.waiting.popleft()
        return len(self.working)


class PartitionQueues:
    """The projector behind faust's agent: gives faust its start positions, and PostgreSQL its batches."""

    def __init__(self, projector: Projector, committed: Committed, batch_max: int, stop: asyncio.Event) -> None:
        self.epoch = 0
        self._projector = projector
        self._committed = committed
        self._batch_max = batch_max
        self._stop = stop
        self._revocation = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._queues: dict[int, _PartitionQueue] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._begun: set[float] = set()
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Lanes run meanwhile; the first that fails ends the others and the caller."""
        async with asyncio.TaskGroup() as self._group:
            yield

    # where to start, and how far things are

    async def assigned(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Waits for the transactions under way, then takes the partitions over, however long PostgreSQL is unavailable.
        Raises ShutdownRequested once they are revoked."""
        self.revoked()
        revoked = self._revocation = asyncio.Event()
        await self.until_idle()
        starts = await retry_transient(lambda: self._claim(partitions, revoked), revoked, operation="claim partitions")
        if revoked.is_set():
            raise ShutdownRequested("claim partitions")
        self.epoch += 1
        self._queues = {partition: _PartitionQueue(partition, start, start) for partition, start in starts.items()}
        _log.info("partitions_claimed", starts=dict(starts))
        return starts

    async def _claim(self, partitions: Collection[int], revoked: asyncio.Event) -> Mapping[int, int]:
        async with self._claiming:
            if revoked.is_set():
                raise ShutdownRequested("claim partitions")
            return await self._projector.claim(partitions)

    def revoked(self) -> None:
        self._revocation.set()
        for queue in self._queues.values():
            queue.drop()

    async def drain(self) -> None:
        """Until no transaction or claim is under way and PostgreSQL answers: before that, this process is of no use to
        the consumer group, and what it has begun could still take partitions away from their next owner."""
        await self.until_idle()
        async with self._claiming:
            pass
        with suppress(ShutdownRequested):
            await retry_transient(self._projector.reach, self._stop, operation="join the consumer group")

    async def until_idle(self) -> None:
        """Until no transaction is under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    def checkpoint(self, partition: int) -> int | None:
        queue = self._queues.get(partition)
        return queue.done if queue else None

    @property
    def stalled(self) -> bool:
        return bool(self._begun) and time.monotonic() - min(self._begun) > STALLED_S

    def oldest(self, partition: int) -> Record | None:
        """The first record that was delivered and is not committed."""
        queue = self._queues[partition]
        return next(iter(queue.working or queue.waiting), None)

    def partitions(self) -> Collection[int]:
        return [partition for partition, queue in self._queues.items() if not queue.stale]

    # the work

    async def submit(self, batch: RecordBatch) -> None:
        """Returns when there is room for more: no more than two transactions' records wait in a lane. What was fetched
        together begins together, with the last of it."""
        queue = self._queues.get(batch.partition)
        if queue is None or queue.stale or batch.epoch != self.epoch:
            return
        queue.add(batch.records)
        full = len(queue.waiting) > self._batch_max
        if full or not batch.more_in_fetch:
            self._start()
        if full:
            queue.room.clear()
            await queue.room.wait()

    def _start(self) -> None:
        if self._group is None:
            raise BugError("lanes are given a batch before they are open")
        if self._at_work == AT_ONCE or not any(queue.ready for queue in self._queues.values()):
            return
        self._at_work += 1
        task = self._group.create_task(self._run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        while taken := self._take():
            await self._project(taken)
            for queue in taken:
                queue.working = ()
        self._at_work -= 1

    def _take(self) -> Sequence[_PartitionQueue]:
        """Lanes with as many records as go into one transaction; who has waited longest comes first."""
        taken: list[_PartitionQueue] = []
        left = self._batch_max
        for queue in sorted((queue for queue in self._queues.values() if queue.ready), key=lambda queue: queue.moved):
            if left <= 0:
                break
            left -= queue.take(left)
            taken.append(queue)
            if len(queue.waiting) <= self._batch_max:
                queue.room.set()
        return taken

    async def _project(self, taken: Sequence[_PartitionQueue]) -> None:
        began = time.monotonic()
        self._begun.add(began)
        try:
            batches = await retry_transient(lambda: self._attempt(taken), self._stop, operation="project")
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
        """Nothing for lanes that have become stale, as all do together."""
        if any(queue.stale for queue in taken):
            return ()
        return await self._projector.project_all({queue.partition: queue.working for queue in taken})

    def _settle(self, queue: _PartitionQueue, batch: ProjectedBatch | None, seconds: float) -> None:
        if batch is None:
            first = queue.working[0].offset
            _log.info("batch_dropped", partition=queue.partition, offset=first, records=len(queue.working))
            return
        queue.done, queue.moved = batch.next_offset, time.monotonic()
        self._committed(batch, seconds)
