"""Follows the log behind the live projections, partition by partition."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from gengui_stream.postgres.pool import transient_errors
from gengui_stream.recovery.rebuild.fold.fill import CHUNK, PartitionLog, Progress, Span, open_partition, opened_log
from gengui_stream.recovery.rebuild.fold.partition_rebuild import PartitionRebuild
from gengui_stream.recovery.rebuild.shadow.connection import opened_session
from gengui_stream.settings import Settings


class Follower:
    """All partitions of the shadow on one connection, and one reader of the log."""

    def __init__(self, rebuilds: Mapping[int, PartitionRebuild], log: PartitionLog, done: Progress) -> None:
        self._rebuilds = rebuilds
        self._log = log
        self._done = done

    @property
    def offsets(self) -> dict[int, int]:
        return {partition: rebuild.next_offset for partition, rebuild in self._rebuilds.items()}

    def behind(self, offsets: Mapping[int, int]) -> int:
        """The number of events that the shadow lacks up to these offsets."""
        return sum(max(0, until - self.offsets.get(partition, 0)) for partition, until in offsets.items())

    async def follow(self, offsets: Mapping[int, int]) -> None:
        """Folds up to exactly these offsets; partitions that are there already stay where they are."""
        with transient_errors():
            for partition, until in offsets.items():
                rebuild, span = self._rebuilds[partition], Span(partition, until)
                while records := await self._log.take(span, rebuild.next_offset, CHUNK):
                    await rebuild.project(records)
                    self._done(partition, rebuild.next_offset)


@asynccontextmanager
async def opened_follower(settings: Settings, tables: Collection[str], done: Progress) -> AsyncIterator[Follower]:
    """Claims every partition of the shadow."""
    async with opened_session(settings) as connection:
        with transient_errors():
            partitions = range(settings.events_partitions)
            rebuilds = {
                partition: await open_partition(settings, connection, partition, tables) for partition in partitions
            }
        starts = {partition: rebuild.next_offset for partition, rebuild in rebuilds.items()}
        async with opened_log(settings, starts) as log:
            yield Follower(rebuilds, log, done)
