"""Measures progress: the unprojected records of each partition, the age of the oldest, and whether it catches up."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import faust
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.types import TP

from agents.transport import BatchConsumer
from gengui_stream.health.liveness import Details
from gengui_stream.metrics import Metrics
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import pause
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.progress.catch_up import CatchUp, ProgressWindow, Sample
from gengui_stream.projecting.projector import Projector
from gengui_stream.role_context import RoleContext

INTERVAL_S: Final = 1.0
ENDS_WITHIN_S: Final = 2.0
STANDS_STILL_S: Final = 30.0
"""Longer than a transaction, and than an unavailable server is no news."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A partition of this process. `seconds`: the age of its oldest unprojected record."""

    events: int
    seconds: float
    parked: int
    paused: bool
    standing_s: float
    progress: CatchUp

    @property
    def stands_still(self) -> bool:
        return not self.paused and self.standing_s >= STANDS_STILL_S

    def document(self) -> dict[str, object]:
        return {
            "events_behind": self.events,
            "seconds_behind": round(self.seconds, 1),
            "parked_generations": self.parked,
            "trend": self.progress.trend,
            "events_per_second": self.progress.rate,
            "eta_s": self.progress.eta_s,
        }


@dataclass(slots=True)
class _Partition:
    """`even`: when it was last not behind, in Unix seconds."""

    even: float
    window: ProgressWindow = field(default_factory=ProgressWindow)


class LagReport:
    """Measures the partitions of this process, and removes the metrics of those that it no longer owns."""

    def __init__(
        self, app: faust.App, queues: PartitionQueues, projector: Projector, topic: str, metrics: Metrics
    ) -> None:
        self._app = app
        self._queues = queues
        self._projector = projector
        self._topic = topic
        self._metrics = metrics
        self._known: dict[int, _Partition] = {}
        self._latest: Mapping[int, Measured] = {}

    async def measure(self) -> None:
        partitions = set(self._queues.partitions())
        ends = await self._ends(partitions)
        self._forget(self._known.keys() - partitions)
        parked = self._projector.parked()
        still = partitions & set(self._queues.partitions())  # unless they were revoked meanwhile
        self._latest = {each: self._measure(each, ends.get(each), parked.get(each, 0)) for each in sorted(still)}

    def readiness(self) -> Details:
        """May be called from any thread."""
        latest = self._latest
        document = {str(partition): each.document() for partition, each in latest.items()}
        return Details(not any(each.stands_still for each in latest.values()), {"partitions": document})

    def forget(self) -> None:
        """Removes the metrics of all partitions."""
        self._latest = {}
        self._forget(set(self._known))

    def _forget(self, partitions: Set[int]) -> None:
        for gone in partitions:
            del self._known[gone]
            self._metrics.forget_lag(gone)

    async def _ends(self, partitions: Collection[int]) -> Mapping[int, int | None]:
        """Of the last fetch; of a paused partition, which is not fetched, of now."""
        consumer = self._app.consumer
        if not isinstance(consumer, BatchConsumer):
            return {}
        ends = {each: consumer.end_of(TP(self._topic, each)) for each in partitions}
        paused = [TP(self._topic, each) for each in partitions if each in self._queues.paused]
        if paused:
            with suppress(KafkaError, ConsumerStoppedError, TimeoutError):
                async with asyncio.timeout(ENDS_WITHIN_S):
                    return ends | {tp.partition: end for tp, end in (await consumer.ends_of(paused)).items()}
        return ends

    def _measure(self, partition: int, end: int | None, parked: int) -> Measured:
        now = time.time()
        known = self._known.setdefault(partition, _Partition(now))
        checkpoint, paused = self._queues.checkpoint(partition) or 0, partition in self._queues.paused
        sample = Sample(time.monotonic(), checkpoint, max(end or 0, checkpoint))
        known.window.add(sample)
        if not sample.behind:
            known.even = now
        seconds = max(0.0, now - self._oldest(partition, known.even)) if sample.behind else 0.0
        progress = known.window.catch_up(paused=paused)
        measured = Measured(sample.behind, seconds, parked, paused, known.window.standing_s, progress)
        self._metrics.observe_lag(partition, events=sample.behind, oldest_seconds=seconds)
        self._metrics.observe_progress(partition, parked=parked, paused=paused, eta_s=progress.eta_s)
        return measured

    def _oldest(self, partition: int, even: float) -> float:
        """When the oldest unprojected record was appended, in Unix seconds. `even`: if none was delivered yet."""
        oldest = self._queues.oldest(partition)
        return oldest.timestamp / 1000 if oldest is not None and oldest.timestamp else even


@asynccontextmanager
async def reporting_lag(
    app: faust.App, queues: PartitionQueues, projector: Projector, role: RoleContext
) -> AsyncIterator[None]:
    """Measures once a second while the block runs, for the metrics and `/readyz` of the role."""
    report = LagReport(app, queues, projector, role.settings.events_topic, role.metrics)
    role.health.explain(report.readiness)
    try:
        async with background_task(partial(_every_second, report)):
            yield
    finally:
        report.forget()


async def _every_second(report: LagReport, ended: asyncio.Event) -> None:
    while not await pause(ended, INTERVAL_S):
        await report.measure()
