"""The dead-letter rows that a verification expects."""

from collections.abc import Iterable
from typing import Final

import asyncpg

from gengui_stream.projections.outcomes import DeadLettered, Outcome, appended_at
from gengui_stream.recovery.verification.reference_fold import LetterFacts

COLUMNS: Final = (
    "topic",
    "partition",
    "log_offset",
    "generation_id",
    "reason",
    "record_key",
    "record_value",
    "appended_at",
    "resolution",
)
"""Without `detail`, whose wording depends on the versions of libraries."""


def facts(rows: Iterable[asyncpg.Record]) -> dict[int, LetterFacts]:
    return {row["log_offset"]: LetterFacts(row["reason"], row["detail"], row["resolution"]) for row in rows}


def expected_row(
    outcome: Outcome, topic: str, partition: int, found: asyncpg.Record | None
) -> tuple[object, ...] | None:
    """The expected row of this outcome, in the order of COLUMNS; None when there should be none."""
    record = outcome.record
    position, kept = (topic, partition, record.offset), (record.key, record.value, appended_at(record))
    if isinstance(outcome, DeadLettered):
        discarded = found is not None and LetterFacts(found["reason"], "", found["resolution"]).discarded
        return (*position, outcome.generation_id, outcome.reason, *kept, "discarded" if discarded else None)
    if found is not None and found["resolution"] == "retried":  # folded by a retry: the row keeps its record and reason
        return (*position, found["generation_id"], found["reason"], *kept, "retried")
    return None
