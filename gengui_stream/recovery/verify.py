"""Folds the whole log without caches and compares every row of every read model with the result.

It proceeds by partition, and keeps only one partition's states in memory. The checkpoint and the rows of a partition
come from one snapshot of the database, which is closed before the next partition: an open one stops PostgreSQL from
removing old row versions. The log is read up to that checkpoint.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

from gengui_stream.domain.generation.jobs import due_jobs
from gengui_stream.errors import TransientError
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.gaps import first_gap
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Connection
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projections import dead_letters, generation_requests, timeline
from gengui_stream.projections.generation_requests import RequestRow
from gengui_stream.projections.outcomes import Outcome
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.recovery import expected_dead_letters, read_models
from gengui_stream.recovery.reference_fold import PartitionFold
from gengui_stream.recovery.report import PartitionCount, Report
from gengui_stream.recovery.snapshot import OrderedRows, opened_snapshot
from gengui_stream.settings import Settings

SENT_WITHIN_S: Final = 30.0

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of events folded so far and the total."""

REQUESTS: Final = "SELECT * FROM projections.generation_requests WHERE generation_id = ANY($1)"


async def verify(settings: Settings, progress: Progress = lambda done, total: None) -> Report:
    """Compares everything. Raises TransientError when a server is unavailable, and ConfigurationError when the topic
    does not match the settings; the rows may be correct in both cases."""
    report = Report()
    async with opened_snapshot(settings) as connection:
        held = await _held(settings, connection)
    if held:
        await check_topic(settings)
    total = sum(row["next_offset"] - row["start_offset"] for row in held.values())
    for partition in held:
        async with opened_snapshot(settings) as connection:
            position = (await _held(settings, connection))[partition]
            check = _PartitionCheck(settings, connection, report, position)
            await check.run(lambda: progress(report.events, max(total, report.events)))
    async with opened_snapshot(settings) as connection:
        partitions = list(await _held(settings, connection))
        await read_models.compare_strays(connection, report, partitions)
        for row in await connection.fetch(dead_letters.OF_OTHER_PARTITIONS, settings.events_topic, partitions):
            report.unexpected("dead_letters", f"{row['partition']}:{row['log_offset']}")
    return report


async def _held(settings: Settings, connection: Connection) -> Mapping[int, asyncpg.Record]:
    """The checkpoints, by partition."""
    rows = await connection.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, settings.events_topic)
    return {row["partition"]: row for row in rows}


class _PartitionCheck:
    """The comparison of one partition."""

    def __init__(self, settings: Settings, connection: Connection, report: Report, position: asyncpg.Record) -> None:
        self._settings = settings
        self._connection = connection
        self._report = report
        self._position = position
        self._partition: int = position["partition"]
        self._end: int = position["next_offset"]
        self._timings = job_timings(settings)
        place = PartitionPlace(self._partition, settings.events_partitions)
        self._fold = PartitionFold(self._timings, known=FoldState(place=place))

    async def run(self, progress: Callable[[], None]) -> None:
        topic = self._settings.events_topic
        dead = await OrderedRows.open(self._connection, dead_letters.OF_PARTITION, topic, self._partition)
        recorded = await OrderedRows.open(self._connection, timeline.DIGESTS, self._partition)

        async def compare(records: Sequence[LogRecord]) -> None:
            await self._compare_chunk(records, dead, recorded)
            progress()

        await self._read(compare)
        await self._compare_rest(dead, recorded)
        lost = await read_models.compare(self._connection, self._report, self._partition, self._fold)
        await self._report_lost(lost)
        self._compare_counts()

    async def _report_lost(self, lost: Mapping[str, UUID]) -> None:
        """Of the jobs that the states call for and the table does not have, those that no later event explains: a
        handler appends the outcome of a job before it removes the row."""
        if lost:
            wanted = set(lost.values())
            states = {gid: state for gid, state in self._fold.known.states.items() if gid in wanted}
            async with open_reader(self._settings, {self._partition: self._end}, [self._partition]) as reader:
                async for records in reader.until_end():
                    fold_records(decode_records(records), FoldState(states))
            due = {job.key for gid in wanted for job in due_jobs(states[gid], self._timings)}
            for key in sorted(due.intersection(lost)):
                self._report.missing("jobs", key)

    async def _read(self, compare: Callable[[Sequence[LogRecord]], Awaitable[None]]) -> None:
        """Passes on the partition's records up to the checkpoint, and reports missing ones."""
        expected = self._position["start_offset"]
        async with open_reader(self._settings, {self._partition: expected}, [self._partition]) as reader:
            end = min(self._end, (await reader.ends())[self._partition])
            while expected < end:
                records = [record for record in await _next(reader, {self._partition: end}) if record.offset < end]
                if not records or first_gap(expected, records) is not None:
                    break
                await compare(records)
                expected += len(records)
        if expected < self._end:
            self._report.add("log", f"{self._partition}:{expected}", f"records are gone before {self._end}")

    async def _compare_chunk(self, records: Sequence[LogRecord], dead: OrderedRows, recorded: OrderedRows) -> None:
        if not records:
            return
        bound = records[-1].offset + 1
        letter_rows, timeline_rows = await dead.before(bound), await recorded.before(bound)
        outcomes = self._fold.feed(records, expected_dead_letters.facts(letter_rows))
        self._report.events += len(records)
        self._compare_timeline(outcomes, timeline_rows)
        self._compare_letters(outcomes, letter_rows)
        await self._compare_requests(outcomes)

    def _compare_timeline(self, outcomes: Sequence[Outcome], found: Sequence[asyncpg.Record]) -> None:
        rows = [(*row[:-1], _digest(row.payload)) for row in timeline.rows_of(outcomes, self._partition)]
        columns, there = TimelineRow._fields, [tuple(row) for row in found]
        read_models.compare_rows(self._report, "timeline", columns, key=(2, 0), expected=rows, found=there)

    def _compare_letters(self, outcomes: Sequence[Outcome], found: Sequence[asyncpg.Record]) -> None:
        topic, there = self._settings.events_topic, {row["log_offset"]: row for row in found}
        expected = [
            row
            for outcome in outcomes
            if (
                row := expected_dead_letters.expected_row(
                    outcome, topic, self._partition, there.get(outcome.record.offset)
                )
            )
            is not None
        ]
        rows = [tuple(row)[: len(expected_dead_letters.COLUMNS)] for row in found]
        read_models.compare_rows(
            self._report, "dead_letters", expected_dead_letters.COLUMNS, key=(2,), expected=expected, found=rows
        )

    async def _compare_requests(self, outcomes: Sequence[Outcome]) -> None:
        rows = generation_requests.rows_of(outcomes)
        if rows:
            columns = RequestRow._fields
            found = await self._connection.fetch(REQUESTS, [row.generation_id for row in rows])
            there = read_models.in_order(columns, found)
            read_models.compare_rows(self._report, "generation_requests", columns, key=(0,), expected=rows, found=there)

    async def _compare_rest(self, dead: OrderedRows, recorded: OrderedRows) -> None:
        async for row in dead.rest():
            self._report.unexpected("dead_letters", f"{self._partition}:{row['log_offset']}")
        async for row in recorded.rest():
            self._report.unexpected("timeline", f"{row['generation_id']} {self._partition}:{row['log_offset']}")

    def _compare_counts(self) -> None:
        position, tally = self._position, self._fold.tally
        start, end = position["start_offset"], self._end
        columns = ("applied", "ignored", "dead_lettered", "applied + ignored + dead_lettered")
        sums = (tally.applied, tally.ignored, tally.dead_lettered)
        found = (position["applied"], position["ignored"], position["dead_lettered"])
        key = f"partition {self._partition}"
        expected, there = (*sums, end - start), (*found, sum(found))
        self._report.compare("checkpoints", key, columns, expected, there)
        self._report.partitions.append(PartitionCount(self._partition, start, end, *sums))


async def _next(reader: LogReader, ends: Mapping[int, int]) -> list[LogRecord]:
    """The next records; empty when the log has none before these ends. Raises TransientError when the broker sends none
    for SENT_WITHIN_S."""
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            while not (records := await reader.read()) and not await reader.reached(ends):
                pass
    except TimeoutError as error:
        raise TransientError(f"the broker sent nothing for {SENT_WITHIN_S:.0f} s") from error
    return records


def _digest(payload: str) -> str:
    return hashlib.md5(payload.encode(), usedforsecurity=False).hexdigest()
