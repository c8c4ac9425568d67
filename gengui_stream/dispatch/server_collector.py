"""Metrics of what a server knows: measured every few seconds, and exported at each scrape."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gengui_stream.process.lifecycle import pause, retry_transient

T = TypeVar("T")


class ServerCollector(Collector, Generic[T]):
    """`collect` may be called from any thread. `every_s`: between two measurements. One older than `valid_s` is not
    exported: the server is unavailable. `operation`: for the log, while that is so."""

    every_s: ClassVar[float]
    valid_s: ClassVar[float]
    operation: ClassVar[str]

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._measured: tuple[float, Sequence[T]] = (0.0, ())

    def put(self, found: Sequence[T]) -> None:
        self._measured = (self._clock(), found)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        measured_at, found = self._measured
        return self._families(found if self._clock() - measured_at < self.valid_s else ())

    @abstractmethod
    def _families(self, found: Sequence[T]) -> Iterator[GaugeMetricFamily]:
        """Without samples where nothing is found."""


async def keep_measuring(
    collector: ServerCollector[T], measure: Callable[[], Awaitable[Sequence[T]]], stop: asyncio.Event
) -> None:
    """Raises ShutdownRequested when the shutdown comes while the server is unavailable."""
    while True:
        collector.put(await retry_transient(measure, stop, operation=collector.operation))
        if await pause(stop, collector.every_s):
            return
