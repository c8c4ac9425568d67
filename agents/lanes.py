"""One lane a partition: its batches one after the other, different partitions side by side.

So one partition's fold runs while PostgreSQL commits another's, which is most of the throughput on few cores; and
records that arrive while a lane is busy go into one transaction together.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from agents.batches import RecordBatch
from gengui_stream.errors import BugError, FencedError
from gengui_stream.lifecycle import Stopped, persist
from gengui_stream.projections.folding import Record
from gengui_stream.projections.projector import ProjectedBatch, Projector

Committed = Callable[[ProjectedBatch, float], None]
"""Told of every committed batch, and of the seconds it took."""

_log: Final = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Lane:
    """`stale`: a rebalance came since; what waits is dropped, for its next owner reads it again."""

    partition: int
    done: int
    waiting: deque[Record] = field(default_factory=deque)
    working: Sequence[Record] = ()
    room: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    stale: bool = False
    moved: float = field(default_factory=time.monotonic)

    def drop(self) -> None:
        self.stale = True
        self.waiting.clear()
        self.room.set()

    def take(self, most: int) -> Sequence[Record]:
        self.working = tuple(itertools.islice(self.waiting, most))
        for _ in self.working:
            self.waiting.popleft()
        return self.working


class Lanes:
    """The projector behind faust's agent: gives faust its start positions, and PostgreSQL its batches."""

    def __init__(self, projector: Projector, committed: Committed, batch_max: int, stop: asyncio.Event) -> None:
        self.epoch = 0
        self._projector = projector
        self._committed = committed
        self._batch_max = batch_max
        self._stop = stop
        self._lanes: dict[int, _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Lanes run meanwhile; the first that fails ends the others and the caller."""
        async with asyncio.TaskGroup() as self._group:
            yield

    # where to start, and how far things are

    async def claim(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Waits for the transactions under way, then takes the partitions over, however long PostgreSQL is away."""
        self.release()
        await self.idle()
        starts = await persist(lambda: self._projector.claim(partitions), self._stop, what="claim partitions")
        self.epoch += 1
        self._lanes = {partition: _Lane(partition, start) for partition, start in starts.items()}
        _log.info("partitions_claimed", starts=dict(starts))
        return starts

    def release(self) -> None:
        for lane in self._lanes.values():
            lane.drop()

    async def idle(self) -> None:
        """Until no transaction is under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    def done(self, partition: int) -> int | None:
        lane = self._lanes.get(partition)
        return lane.done if lane else None

    def oldest(self, partition: int) -> Record | None:
        """The first record that was delivered and is not committed."""
        lane = self._lanes[partition]
        return next(iter(lane.working or lane.waiting), None)

    def partitions(self) -> Collection[int]:
        return [partition for partition, lane in self._lanes.items() if not lane.stale]

    # the work

    async def give(self, batch: RecordBatch) -> None:
        """Returns when there is room for more: no more than two transactions' records wait in a lane."""
        lane = self._lanes.get(batch.partition)
        if lane is None or lane.stale or batch.epoch != self.epoch:
            return
        lane.waiting.extend(batch.records)
        if not lane.busy:
            self._start(lane)
        if len(lane.waiting) > self._batch_max:
            lane.room.clear()
            await lane.room.wait()

    def _start(self, lane: _Lane) -> None:
        if self._group is None:
            raise BugError("lanes are given a batch before they are open")
        lane.busy = True
        task = self._group.create_task(self._run(lane), name=f"lane-{lane.partition}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, lane: _Lane) -> None:
        while records := lane.take(self._batch_max):
            if len(lane.waiting) <= self._batch_max:
                lane.room.set()
            await self._project(lane, records)
        lane.busy = False

    async def _project(self, lane: _Lane, records: Sequence[Record]) -> None:
        began = time.monotonic()
        try:
            batch = await persist(lambda: self._attempt(lane, records), self._stop, what="project")
        except Stopped:
            lane.drop()
            return
        except FencedError:
            if not lane.stale:
                raise
            batch = None
        if batch is None:
            _log.info("batch_dropped", partition=lane.partition, offset=records[0].offset, records=len(records))
            return
        lane.done, lane.moved = batch.next_offset, time.monotonic()
        self._committed(batch, time.monotonic() - began)

    async def _attempt(self, lane: _Lane, records: Sequence[Record]) -> ProjectedBatch | None:
        return None if lane.stale else await self._projector.project(lane.partition, records)
