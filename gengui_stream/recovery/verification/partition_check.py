"""The comparison of one partition: folds its log, and stops at each checkpoint at which rows were read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from gengui_stream.domain.generation.jobs import JobTimings, due_jobs
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.projections.job_rows import run_to_cancel
from gengui_stream.projections.outcomes import Tally
from gengui_stream.recovery.verification import expected_dead_letters
from gengui_stream.recovery.verification.database_pages import JOB_COLUMNS
from gengui_stream.recovery.verification.expected_rows import (
    MEASURES,
    STATE_COLUMNS,
    canonical,
    counts_of,
    state_row,
)
from gengui_stream.recovery.verification.log_comparison import LogComparison
from gengui_stream.recovery.verification.reference_fold import Folded, PartitionFold
from gengui_stream.recovery.verification.report import PartitionCount, Report
from gengui_stream.recovery.verification.staging import Staging

COUNT_COLUMNS: Final = ("applied", "ignored", "dead_lettered", "applied + ignored + dead_lettered")


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a partition's log to compare. `begun`: its checkpoint before the first row was read. `makes_jobs`:
    its owner had caught up by then. `end`: the row of its checkpoint after the last one was read."""

    partition: int
    begun: int
    makes_jobs: bool
    end: asyncpg.Record


class PartitionCheck:
    """Fed with all records from `start_offset` to the end of its span."""

    def __init__(
        self, span: Span, comparison: LogComparison, fold: PartitionFold, staging: Staging, report: Report
    ) -> None:
        self._span = span
        self._partition = span.partition
        self._comparison = comparison
        self._fold = fold
        self._staging = staging
        self._report = report
        self._tally = Tally()
        self._stops = sorted({*staging.positions(span.partition), span.begun, span.end["next_offset"]})

    async def feed(self, records: Sequence[LogRecord], timings: JobTimings) -> None:
        """Folds the next records, which are not empty. Reports what differs at each checkpoint that they reach."""
        self.compare_up_to(records[0].offset, timings)
        while records:
            count = min(len(records), self._stops[0] - records[0].offset) if self._stops else len(records)
            await self._fold_part(records[:count], timings)
            self.compare_up_to(records[count - 1].offset + 1, timings)
            records = records[count:]

    def compare_up_to(self, offset: int, timings: JobTimings) -> None:
        """Compares the rows that were read at a checkpoint not past this offset, the end of the fold."""
        while self._stops and self._stops[0] <= offset:
            self._compare_at(self._stops.pop(0), timings)

    async def finish(self, timings: JobTimings) -> None:
        """Compares what is left, also when records of the log are gone."""
        self.compare_up_to(self._span.end["next_offset"], timings)
        for key, compared in self._staging.surplus_timelines(self._partition):
            surplus = await self._comparison.surplus_rows(UUID(key), compared, self._span.begun)
            if surplus:
                what = f"{surplus} rows besides the {compared} of the log should not be there"
                self._report.add("timeline", f"{key} {self._partition}", what)
        for key in self._staging.jobs_never_due(self._partition):
            self._report.unexpected("jobs", key)

    async def _fold_part(self, records: Sequence[LogRecord], timings: JobTimings) -> None:
        letters = await self._comparison.dead_letters(records[0].offset, records[-1].offset + 1)
        folded = self._fold.feed(records, expected_dead_letters.facts(letters))
        self._report.events += len(records)
        self._tally.count(folded.outcomes)
        for name, counts in counts_of(folded.transitions).items():
            self._staging.count(name, self._partition, counts)
        self._match_jobs(folded, timings)
        self._comparison.compare_dead_letters(folded.outcomes, letters)
        self._staging.add_rows(self._partition, await self._comparison.compare_timeline(folded.outcomes))
        await self._comparison.compare_requests(folded.outcomes)

    def _match_jobs(self, folded: Folded, timings: JobTimings) -> None:
        """A job may exist from the transition on that calls for it, until its handler removes it: keys and subjects are
        compared, because the progress of a job does not follow from the log."""
        due = {job.key: (job, each.offset) for each in folded.transitions for job in due_jobs(each.after, timings)}
        due |= {job.key: (job, each.record.offset) for each in folded.outcomes if (job := run_to_cancel(each))}
        if not due:
            return
        first = min(offset for _, offset in due.values())
        found = self._staging.unmatched_jobs(self._partition, first, due)
        for key, row in found.items():
            job, _ = due[key]
            expected = (job.key, job.kind, job.generation_id, job.attempt, job.output_id)
            self._compare("jobs", key, JOB_COLUMNS, canonical(expected), row)
        self._staging.match_jobs(self._partition, found)

    def _compare_at(self, position: int, timings: JobTimings) -> None:
        if position == self._span.begun:
            self._find_missing(timings)
        self._compare_states(position)
        for name, measures in MEASURES.items():
            for key, row, counts in self._staging.counts_at(name, self._partition, position):
                if counts:
                    expected = canonical([counts.get(measure, 0) for measure in measures])
                    self._compare(name, key, measures, expected, row)
                else:
                    self._report.unexpected(name, key)
        if position == self._span.end["next_offset"]:
            self._compare_tally()

    def _compare_states(self, position: int) -> None:
        for key, row, progress in self._staging.states_at(self._partition, position):
            if progress is None or progress.state is None:
                self._report.unexpected("generation_states", key)
                continue
            expected = canonical(state_row(progress.state, self._partition, progress.changed_at))
            self._compare("generation_states", key, STATE_COLUMNS, expected, row)

    def _compare(self, table: str, key: str, columns: Sequence[str], expected: bytes, found: bytes) -> None:
        if expected == found:
            self._report.rows[table] += 1
        else:
            self._report.compare(table, key, columns, orjson.loads(expected), orjson.loads(found))

    def _find_missing(self, timings: JobTimings) -> None:
        """Rows are never removed, but for those of jobs: what was there when the verification began must be found."""
        for key in self._staging.missing_states(self._partition):
            self._report.missing("generation_states", key)
        for name in MEASURES:
            for key in self._staging.missing_counts(name, self._partition):
                self._report.missing(name, key)
        if self._span.makes_jobs:
            self._staging.lose_jobs(
                self._partition,
                (
                    (job.key, job.generation_id)
                    for state in self._staging.open_states(self._partition)
                    for job in due_jobs(state, timings)
                    if not self._staging.has_job(self._partition, job.key)
                ),
            )

    def _compare_tally(self) -> None:
        end, tally = self._span.end, self._tally
        sums = (tally.applied, tally.ignored, tally.dead_lettered)
        found = (end["applied"], end["ignored"], end["dead_lettered"])
        span = (end["start_offset"], end["next_offset"])
        expected, there = (*sums, span[1] - span[0]), (*found, sum(found))
        self._report.compare("checkpoints", f"partition {self._partition}", COUNT_COLUMNS, expected, there)
        self._report.partitions.append(PartitionCount(self._partition, *span, *sums))


def report_lost_jobs(partition: int, staging: Staging, report: Report, timings: JobTimings) -> None:
    """Of the jobs that were due and not found, reports those that are due still, at the end of the log: a handler
    appends the outcome of a job before it removes the row."""
    for key, state in staging.lost_jobs(partition):
        if state is not None and key in {job.key for job in due_jobs(state, timings)}:
            report.missing("jobs", key)
