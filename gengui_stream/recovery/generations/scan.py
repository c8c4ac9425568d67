"""Finds the records of a generation in the log without the timeline: reads its partition from its request on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.domain.identifiers import unix_ms_of
from gengui_stream.log.lookup.records import LogLookup
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.recovery.generations.refold import home_of
from gengui_stream.recovery.generations.stored_rows import StoredRows
from gengui_stream.settings import Settings

CLOCK_SKEW: Final = timedelta(minutes=5)
"""Of the producer that made the id, against those that appended the events."""

LATEST_MS: Final = 4_102_444_800_000  # the year 2100

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of records read, and of those to read."""


def unseen(done: int, total: int) -> None:
    """Shows no progress."""


async def scan(settings: Settings, log: LogLookup, stored: StoredRows, progress: Progress) -> set[Position]:
    """The records with the generation's key on its partition, from its first known one, or from the time in its id, up
    to what is projected. Costs the reading of all that lies between. Raises TransientError when the broker does not
    answer."""
    home = home_of(stored.generation_id, settings.events_partitions)
    end = min(stored.next_offsets.get(home, 0), (await log.ends())[home])
    start = min(await _start(log, stored, home), end)
    key, found = str(stored.generation_id).encode(), set[Position]()
    if start == end:
        return found
    async with open_reader(settings, {home: start}, [home]) as reader:
        while records := await reader.next_before({home: end}):
            found |= {Position(home, each.offset) for each in records if each.key == key and each.offset < end}
            progress(_read(reader, home, start, end), end - start)
    return found


def _read(reader: LogReader, home: int, start: int, end: int) -> int:
    return min(reader.offsets[home], end) - start


async def _start(log: LogLookup, stored: StoredRows, home: int) -> int:
    """0 when neither its id nor a record tells."""
    known = [each.offset for each in stored.positions if each.partition == home]
    made = _made_at(stored.generation_id)
    if made is not None:
        known.append((await log.offsets_at(made - CLOCK_SKEW))[home])
    return min(known, default=0)


def _made_at(generation_id: UUID) -> datetime | None:
    made_ms = unix_ms_of(generation_id)
    return datetime.fromtimestamp(made_ms / 1000, UTC) if made_ms and made_ms < LATEST_MS else None
