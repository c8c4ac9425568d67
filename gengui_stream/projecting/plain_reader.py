"""The partition processor driven by a plain reader: without faust, and without a consumer group."""

from collections.abc import AsyncIterator, Collection
from typing import Final

from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.projecting.batches import batches_of
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.settings import Settings

FOLLOW_POLL_MS: Final = 50


async def follow_log(queues: PartitionQueues, settings: Settings, partitions: Collection[int] | None = None) -> None:
    """Projects the log continuously, until cancelled. Claims `partitions` (None: all) from any other owner."""
    await _project(queues, settings, partitions, follow=True)


async def project_to_end(
    queues: PartitionQueues, settings: Settings, partitions: Collection[int] | None = None
) -> None:
    """Projects the log up to its current end, and returns once everything is committed."""
    await _project(queues, settings, partitions, follow=False)


async def _project(
    queues: PartitionQueues, settings: Settings, partitions: Collection[int] | None, *, follow: bool
) -> None:
    starts = await queues.assigned(range(settings.events_partitions) if partitions is None else partitions)
    async with open_reader(settings, starts, list(starts)) as reader, queues.open():
        async for records in _chunks(reader, follow=follow):
            for batch in batches_of(records, queues.epoch, settings.projector_batch_max):
                await queues.submit(batch)
    await queues.until_idle()


def _chunks(reader: LogReader, *, follow: bool) -> AsyncIterator[list[LogRecord]]:
    return reader.follow(timeout_ms=FOLLOW_POLL_MS) if follow else reader.until_end()
