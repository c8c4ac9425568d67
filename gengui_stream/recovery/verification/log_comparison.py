"""Compares what a record of the log leaves behind once and for all: its row of the timeline or of the dead letters, and
the request."""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.postgres.pool import Connection
from gengui_stream.projections.outcomes import Applied, Outcome
from gengui_stream.recovery.verification import expected_dead_letters, expected_rows
from gengui_stream.recovery.verification.expected_rows import TimelineRow, timeline_row
from gengui_stream.recovery.verification.report import Report, compare_rows

TIMELINE: Final = """
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
    status, ignored, md5(payload) FROM projections.timeline
WHERE generation_id = ANY($1) AND partition = $2 AND log_offset >= $3 AND log_offset < $4
"""

TIMELINE_SIZE: Final = """
SELECT count(*) FROM projections.timeline WHERE generation_id = $1 AND partition = $2 AND log_offset < $3
"""

PRUNED: Final = """
SELECT generation_id, timeline_pruned_before FROM projections.generation_states
WHERE generation_id = ANY($1) AND timeline_pruned_before IS NOT NULL
"""

REQUESTS: Final = """
SELECT generation_id, owner_id, prompt, seed, width, height, model, provider, max_attempts, deadline, retried_from,
    correlation_id, traceparent, requested_at, provider_pinned
FROM projections.generation_requests WHERE generation_id = ANY($1)
"""

DEAD_LETTERS: Final = """
SELECT topic, partition, log_offset, generation_id, reason, record_key, record_value, appended_at, resolution, detail
FROM projections.dead_letters WHERE topic = $1 AND partition = $2 AND log_offset >= $3 AND log_offset < $4
ORDER BY log_offset
"""


class LogComparison:
    """Of one partition. `connection`: each call runs a statement that reads no more rows than there are records."""

    def __init__(self, connection: Connection, topic: str, partition: int, report: Report) -> None:
        self._connection = connection
        self._topic = topic
        self._partition = partition
        self._report = report

    async def dead_letters(self, start: int, end: int) -> list[asyncpg.Record]:
        """The rows of these offsets."""
        return await self._connection.fetch(DEAD_LETTERS, self._topic, self._partition, start, end)

    def compare_dead_letters(self, outcomes: Sequence[Outcome], found: Sequence[asyncpg.Record]) -> None:
        there = {row["log_offset"]: row for row in found}
        rows = (
            expected_dead_letters.expected_row(outcome, self._topic, self._partition, there.get(outcome.record.offset))
            for outcome in outcomes
        )
        columns = expected_dead_letters.COLUMNS
        compare_rows(
            self._report,
            "dead_letters",
            columns,
            key=(2,),
            expected=[row for row in rows if row is not None],
            found=[tuple(row)[: len(columns)] for row in found],
        )

    async def compare_timeline(self, outcomes: Sequence[Outcome]) -> Counter[UUID]:
        """Returns the number of rows of each generation that belong to these records."""
        rows = [row for each in outcomes if (row := timeline_row(each, self._partition)) is not None]
        if not rows:
            return Counter()
        expected = {(row.log_offset, row.generation_id): row for row in rows}
        ids = list({row.generation_id for row in rows})
        span = (outcomes[0].record.offset, outcomes[-1].record.offset + 1)
        there = await self._connection.fetch(TIMELINE, ids, self._partition, *span)
        # Rows that no record explains are found once all are folded.
        found = [row for row in there if (row["log_offset"], row["generation_id"]) in expected]
        missing = expected.keys() - {(row["log_offset"], row["generation_id"]) for row in found}
        pruned = await self._pruned([expected[place] for place in missing])
        due = [row for place, row in expected.items() if place not in pruned]
        compare_rows(
            self._report,
            "timeline",
            TimelineRow._fields,
            key=(2, 0),
            expected=due,
            found=[tuple(row) for row in found],
        )
        return Counter(row["generation_id"] for row in found)

    async def _pruned(self, missing: Sequence[TimelineRow]) -> set[tuple[int, UUID]]:
        """The offset and generation of those that retention has removed."""
        ids = list({row.generation_id for row in missing})
        rows = await self._connection.fetch(PRUNED, ids) if ids else ()
        before = {row["generation_id"]: row["timeline_pruned_before"] for row in rows}
        pruned = {
            (row.log_offset, row.generation_id)
            for row in missing
            if (moment := before.get(row.generation_id)) is not None and row.appended_at < moment
        }
        self._report.pruned += len(pruned)
        return pruned

    async def surplus_rows(self, generation_id: UUID, compared: int, before: int) -> int:
        """The rows of the generation before this offset, less those that were compared: retention may have removed some
        since they were counted."""
        rows = await self._connection.fetch(TIMELINE_SIZE, generation_id, self._partition, before)
        return max(0, int(rows[0]["count"]) - compared)

    async def compare_requests(self, outcomes: Sequence[Outcome]) -> None:
        events = [outcome.event for outcome in outcomes if isinstance(outcome, Applied)]
        rows = [expected_rows.request_row(event) for event in events if event.type == "generation.requested"]
        if rows:
            found = await self._connection.fetch(REQUESTS, [row[0] for row in rows])
            columns = expected_rows.REQUEST_COLUMNS
            compare_rows(self._report, "generation_requests", columns, key=(0,), expected=rows, found=map(tuple, found))
