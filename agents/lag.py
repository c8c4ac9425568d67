"""Measures progress: the number of unprojected records of each partition, and the age of the oldest."""

import asyncio
import time
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import faust
from faust.types import TP

from agents.transport import BatchConsumer
from gengui_stream.metrics import Metrics
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import pause
from gengui_stream.projecting.partition_queues import PartitionQueues

INTERVAL_S: Final = 1.0


class LagReport:
    """Measures the partitions of this process, and removes the metrics of those that it no longer owns."""

    def __init__(self, app: faust.App, topic: str, queues: PartitionQueues, metrics: Metrics) -> None:
        self._app = app
        self._topic = topic
        self._queues = queues
        self._metrics = metrics
        self._even: dict[int, float] = {}

    def measure(self) -> None:
        partitions = set(self._queues.partitions())
        self._forget(self._even.keys() - partitions)
        for partition in partitions:
            self._measure(partition)

    def forget(self) -> None:
        """Removes the metrics of all partitions."""
        self._forget(set(self._even))

    def _forget(self, partitions: Set[int]) -> None:
        for gone in partitions:
            del self._even[gone]
            self._metrics.forget_lag(gone)

    def _measure(self, partition: int) -> None:
        now = time.time()
        consumer = self._app.consumer
        end = consumer.end_of(TP(self._topic, partition)) if isinstance(consumer, BatchConsumer) else None
        events = max(0, (end or 0) - (self._queues.checkpoint(partition) or 0))
        if not events:
            self._even[partition] = now
        since = self._even.setdefault(partition, now)
        oldest = self._queues.oldest(partition)
        if oldest is not None and oldest.timestamp:
            since = oldest.timestamp / 1000
        self._metrics.observe_lag(partition, events=events, oldest_seconds=max(0.0, now - since) if events else 0.0)


@asynccontextmanager
async def reporting_lag(app: faust.App, topic: str, queues: PartitionQueues, metrics: Metrics) -> AsyncIterator[None]:
    """Measures once a second while the block runs."""
    report = LagReport(app, topic, queues, metrics)
    try:
        async with background_task(partial(_every_second, report)):
            yield
    finally:
        report.forget()


async def _every_second(report: LagReport, ended: asyncio.Event) -> None:
    while not await pause(ended, INTERVAL_S):
        report.measure()
