"""Appends whole histories to the log as fast as one process can: `python -m tests.bench.filling GENERATIONS`."""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import uvloop

from gengui_stream.log.event_log import EventLog
from gengui_stream.settings import Settings, load_settings
from tests.events import wide_histories

ACTIVE: Final = 2_000
"""Generations in progress at once, their events interleaved: as many as have begun and not ended at full speed."""

CHUNK: Final = 2_000


async def fill(settings: Settings, generations: int) -> None:
    """The events have the current time: the fold does not believe an event a day away from its record's time."""
    events = wide_histories(generations, start=datetime.now(UTC), active=ACTIVE)
    async with EventLog(settings) as log:
        sending: asyncio.Task[object] | None = None
        while chunk := list(islice(events, CHUNK)):
            if sending is not None:
                await sending
            sending = asyncio.create_task(log.append_many(chunk))
            await asyncio.sleep(0)
        if sending is not None:
            await sending


if __name__ == "__main__":
    uvloop.run(fill(load_settings(env_files=()), int(sys.argv[1])))
