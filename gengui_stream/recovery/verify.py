"""Folds the whole log without caches and compares every row of every read model with the result.

The size of memory and the age of a snapshot do not depend on the size of the database. The rows that change are copied
page by page into a SQLite database on disk, each page with the checkpoints of its own snapshot, which ends with the
statement. Then each partition's log is read once. The fold keeps its states in the same file, in memory only those of
the records at hand, and stops at every checkpoint of a page to compare the rows of that page. Rows that never change
(timeline, requests, dead letters) are compared along with the log.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import asyncpg

from gengui_stream.errors import TransientError
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.gaps import first_gap
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.log.reader import open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import Connection
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import dead_letters
from gengui_stream.recovery.verification.database_pages import (
    copy_changing_rows,
    copy_timeline_sizes,
    find_requests_without_state,
)
from gengui_stream.recovery.verification.log_comparison import LogComparison
from gengui_stream.recovery.verification.partition_check import PartitionCheck, Span, report_lost_jobs
from gengui_stream.recovery.verification.reference_fold import PartitionFold
from gengui_stream.recovery.verification.report import Report
from gengui_stream.recovery.verification.session import opened_session
from gengui_stream.recovery.verification.staging import Staging, opened_staging
from gengui_stream.settings import Settings

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of events folded so far and the total."""

CATCHING_UP: Final = "SELECT partition FROM jobs.partition_owners WHERE valid_until = '-infinity'"
"""Until its owner has caught up, a partition makes no jobs."""


async def verify(settings: Settings, progress: Progress = lambda done, total: None) -> Report:
    """Compares everything as of now; rows that are made meanwhile are compared if a page has them. Raises
    TransientError when a server is unavailable, or when an operator retried or discarded dead letters meanwhile, which
    changes rows of the past; and ConfigurationError when the topic does not match the settings."""
    async with opened_session(settings) as connection:
        with opened_staging() as staging:
            return await _Verification(settings, connection, staging).run(progress)


class _Verification:
    def __init__(self, settings: Settings, connection: Connection, staging: Staging) -> None:
        self._settings = settings
        self._topic = settings.events_topic
        self._connection = connection
        self._staging = staging
        self._timings = job_timings(settings)
        self._report = Report()
        self._revisions: Mapping[int, int] = {}

    async def run(self, progress: Progress) -> Report:
        spans = await self._copy_rows()
        if spans:
            await check_topic(self._settings)
        total = sum(span.end["next_offset"] - span.end["start_offset"] for span in spans)
        for span in spans:
            await self._check_partition(span, lambda: progress(self._report.events, max(total, self._report.events)))
        for row in await self._connection.fetch(dead_letters.NOT_OF_THE_LOG, checkpoints.PROJECTION, self._topic):
            self._report.unexpected("dead_letters", f"{row['partition']}:{row['log_offset']}")
        await self._check_revisions()
        return self._report

    async def _copy_rows(self) -> list[Span]:
        """One span for each partition with a checkpoint."""
        first = await self._checkpoints()
        self._revisions = _revisions(first)
        begun = {partition: row["next_offset"] for partition, row in first.items()}
        catching_up = {row["partition"] for row in await self._connection.fetch(CATCHING_UP)}
        await copy_changing_rows(self._connection, self._topic, self._staging, self._report)
        await copy_timeline_sizes(self._connection, self._topic, begun, self._staging, self._report)
        await find_requests_without_state(self._connection, self._report)
        return [
            Span(partition, begun.get(partition, row["start_offset"]), partition not in catching_up, row)
            for partition, row in (await self._checkpoints()).items()
        ]

    async def _checkpoints(self) -> Mapping[int, asyncpg.Record]:
        rows = await self._connection.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, self._topic)
        return {row["partition"]: row for row in rows}

    async def _check_partition(self, span: Span, progress: Callable[[], None]) -> None:
        fold = PartitionFold(self._staging, PartitionPlace(span.partition, self._settings.events_partitions))
        comparison = LogComparison(self._connection, self._topic, span.partition, self._report)
        check = PartitionCheck(span, comparison, fold, self._staging, self._report)
        await self._read(span, check, progress)
        await check.finish(self._timings)
        if self._staging.has_lost_jobs(span.partition):
            await self._fold_rest(span, fold)
            report_lost_jobs(span.partition, self._staging, self._report, self._timings)

    async def _read(self, span: Span, check: PartitionCheck, progress: Callable[[], None]) -> None:
        """Passes on the partition's records up to its end, and reports missing ones."""
        partition, expected, last = span.partition, span.end["start_offset"], span.end["next_offset"]
        async with open_reader(self._settings, {partition: expected}, [partition]) as reader:
            end = min(last, (await reader.ends())[partition])
            while expected < end:
                records = [record for record in await reader.next_before({partition: end}) if record.offset < end]
                if not records or first_gap(expected, records) is not None:
                    break
                await check.feed(records, self._timings)
                progress()
                expected += len(records)
        if expected < last:
            self._report.add("log", f"{partition}:{expected}", f"records are gone before {last}")

    async def _fold_rest(self, span: Span, fold: PartitionFold) -> None:
        async with open_reader(self._settings, {span.partition: span.end["next_offset"]}, [span.partition]) as reader:
            async for records in reader.until_end():
                fold.feed(records, {})

    async def _check_revisions(self) -> None:
        now = _revisions(await self._checkpoints())
        if any(now.get(partition, revision) != revision for partition, revision in self._revisions.items()):
            raise TransientError("dead letters were retried or discarded meanwhile, which changes earlier rows")


def _revisions(rows: Mapping[int, asyncpg.Record]) -> Mapping[int, int]:
    return {partition: row["parked_revision"] for partition, row in rows.items()}
