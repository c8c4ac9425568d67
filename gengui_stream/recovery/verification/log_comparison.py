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
from gengui_stream.recovery.verification.report import Report, compare_rows

TIMELINE: Final = """
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
    status, ignored, md5(payload) FROM projections.timeline
WHERE generation_id = ANY($1) AND partition = $2 AND log_offset >= $3 AND log_offset < $4
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
        rows = [expected_rows.timeline_row(outcome, self._partition) for outcome in outcomes]
        expected = [row for row in rows if row is not None]
        if not expected:
            return Counter()
        span = (outcomes[0].record.offset, outcomes[-1].record.offset + 1)
        ids = list({row[0] for row in expected})
        found = [tuple(row) for row in await self._connection.fetch(TIMELINE, ids, self._partition, *span)]
        columns, key = expected_rows.TIMELINE_COLUMNS, (2, 0)
        due = {(row[2], row[0]) for row in expected}
        own = [row for row in found if (row[2], row[0]) in due]  # the others are counted once all records are folded
        compare_rows(self._report, "timeline", columns, key=key, expected=expected, found=own)
        return Counter(row[0] for row in own if isinstance(row[0], UUID))

    async def compare_requests(self, outcomes: Sequence[Outcome]) -> None:
        events = [outcome.event for outcome in outcomes if isinstance(outcome, Applied)]
        rows = [expected_rows.request_row(event) for event in events if event.type == "generation.requested"]
        if rows:
            found = await self._connection.fetch(REQUESTS, [row[0] for row in rows])
            columns = expected_rows.REQUEST_COLUMNS
            compare_rows(self._report, "generation_requests", columns, key=(0,), expected=rows, found=map(tuple, found))
