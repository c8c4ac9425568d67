"""Fills the shadow schema from the log: several partitions at a time, each up to a given offset."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Protocol, TypeAlias

from gengui_stream.errors import PermanentError
from gengui_stream.log.gaps import first_gap
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.log.reader import open_reader
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.process.background import single_error_group
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.batches import BYTES_MAX, bytes_of, fitting
from gengui_stream.projecting.owned_partition import OwnedPartition
from gengui_stream.projections import dead_letters
from gengui_stream.recovery.rebuild.fold.partition_rebuild import (
    HAS_UNREQUESTED,
    KeptLetter,
    PartitionRebuild,
    Target,
)
from gengui_stream.recovery.rebuild.shadow.connection import ShadowConnection, opened_session
from gengui_stream.recovery.rebuild.shadow.tables import is_all
from gengui_stream.recovery.verification.reference_fold import LetterFacts
from gengui_stream.settings import Settings

CHUNK: Final = 20_000
"""Records of one transaction: large enough that its rows, not its round trips, take the time."""

AT_ONCE: Final = 3
"""Partitions of a process: one is folded while PostgreSQL takes the rows of the others."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each transaction with the partition and its next offset."""

KEPT_LETTERS: Final = """
SELECT log_offset, reason, detail, resolution, created_at, resolved_at FROM projections.dead_letters
WHERE topic = $1 AND partition = $2 AND (resolution = 'discarded' OR resolution IS NULL AND $3) AND reason <> 'parked'
"""


class Span(NamedTuple):
    """The offsets of a partition before `until`."""

    partition: int
    until: int


class Pace:
    """Delays work so that it does no more than `rate` events a second; None: as fast as it can."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._due = time.monotonic()

    @property
    def chunk(self) -> int:
        """Half a second's worth at most, so that a low rate is even."""
        return CHUNK if self._rate is None else max(1, min(CHUNK, int(self._rate / 2)))

    async def spend(self, events: int) -> None:
        if self._rate is not None:
            self._due = max(self._due, time.monotonic()) + events / self._rate
            await asyncio.sleep(self._due - time.monotonic())


async def fill(settings: Settings, spans: Sequence[Span], tables: Collection[str], pace: Pace, done: Progress) -> None:
    """Builds the rows of these spans. Raises PermanentError when the log lacks records, TransientError when a server is
    unavailable, and FencedError when another rebuild has gone on with this one."""
    waiting = sorted(spans, key=lambda span: span.until)
    async with single_error_group() as group:
        for _ in range(min(AT_ONCE, len(spans))):
            group.create_task(_fill_some(settings, waiting, tables, pace, done))


async def _fill_some(
    settings: Settings, waiting: list[Span], tables: Collection[str], pace: Pace, done: Progress
) -> None:
    async with opened_session(settings) as connection:
        with transient_errors():
            while waiting:
                span = waiting.pop()
                rebuild = await open_partition(settings, connection, span.partition, tables)
                await _fill_one(settings, span, rebuild, pace, done)


async def _fill_one(settings: Settings, span: Span, rebuild: PartitionRebuild, pace: Pace, done: Progress) -> None:
    if rebuild.next_offset >= span.until:
        return
    async with opened_log(settings, {span.partition: rebuild.next_offset}) as log:
        while records := await log.take(span, rebuild.next_offset, pace.chunk):
            await rebuild.project(records)
            done(span.partition, rebuild.next_offset)
            await pace.spend(len(records))


async def open_partition(
    settings: Settings,
    connection: Connection,
    partition: int,
    tables: Collection[str],
) -> PartitionRebuild:
    """Claims the partition in the shadow schema and continues at its checkpoint."""
    shadow, topic = ShadowConnection(connection), settings.events_topic
    claim = (await checkpoints.claim(shadow, topic, [partition]))[partition]
    parked = {row["generation_id"] for row in await shadow.fetch(dead_letters.OPEN, topic, partition)}
    rows = await connection.fetch(KEPT_LETTERS, topic, partition, not is_all(tables))
    kept = {
        row["log_offset"]: KeptLetter(
            LetterFacts(row["reason"], row["detail"], row["resolution"]), row["created_at"], row["resolved_at"]
        )
        for row in rows
    }
    early = await shadow.fetch(HAS_UNREQUESTED, partition)
    target = Target(topic, PartitionPlace(partition, settings.events_partitions), frozenset(tables))
    return PartitionRebuild(shadow, target, OwnedPartition(claim, parked), kept, has_unrequested=bool(early))


class RecordSource(Protocol):
    """Where records come from: the topic (`LogReader`), or an archive of the log and then the topic."""

    async def next_before(self, ends: Mapping[int, int]) -> list[LogRecord]:
        """The next records, in order within each partition, of which some may be behind these ends; empty when none
        before them is left. Raises TransientError when none arrives for a while."""


class PartitionLog:
    """The records of some partitions, in order and without gaps."""

    def __init__(self, reader: RecordSource) -> None:
        self._reader = reader
        self._read: dict[int, list[LogRecord]] = {}

    async def take(self, span: Span, expected: int, most: int) -> Sequence[LogRecord]:
        """Some of the next records of the span, at least one unless the span ends at `expected`. Raises PermanentError
        when records are missing, and TransientError when the broker sends none for a while."""
        if expected >= span.until:
            return ()
        held = self._read.setdefault(span.partition, [])
        size = sum(map(bytes_of, held))
        while len(held) < min(most, span.until - expected) and size < BYTES_MAX:
            before = len(held)
            records = await self._reader.next_before({span.partition: span.until})
            if not records:
                break
            for record in records:
                self._read.setdefault(record.partition, []).append(record)
            size += sum(map(bytes_of, held[before:]))
        number = min(fitting(held, most, BYTES_MAX), span.until - expected)
        taken, self._read[span.partition] = held[:number], held[number:]
        self._check(span, expected, taken)
        return taken

    def _check(self, span: Span, expected: int, taken: Sequence[LogRecord]) -> None:
        if not taken or (gap := first_gap(expected, taken)) is not None:
            missing = expected + (gap if taken and gap is not None else 0)
            raise PermanentError(
                f"partition {span.partition}: the log has no record at offset {missing}, and a rebuild needs all of "
                f"them up to {span.until}: restore the log first"
            )


@asynccontextmanager
async def opened_log(settings: Settings, starts: Mapping[int, int]) -> AsyncIterator[PartitionLog]:
    """The one place where a rebuild begins to read the log."""
    async with open_reader(settings, starts, list(starts)) as reader:
        yield PartitionLog(reader)
