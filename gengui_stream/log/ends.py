"""The current ends of the log's partitions."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

from gengui_stream.log.reader import open_reader
from gengui_stream.settings import Settings

LogEnds: TypeAlias = Callable[[Collection[int]], Awaitable[Mapping[int, int]]]
"""The offset that the next record of each partition will have. Raises TransientError without an answer."""


def log_ends(settings: Settings) -> LogEnds:
    async def ends(partitions: Collection[int]) -> Mapping[int, int]:
        if not partitions:
            return {}
        async with open_reader(settings, partitions=partitions) as reader:
            return await reader.ends()

    return ends
