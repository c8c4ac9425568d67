"""The rows of dead letters, as a verification expects them."""

from collections.abc import Iterable
from typing import Final

import asyncpg

from gengui_stream.projections.outcomes import DeadLettered, Outcome, appended_at
from gengui_stream.recovery.reference_fold import Letter

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
"""Without `detail`: words for people, which another version of a library may put otherwise."""

SELECT: Final = f"""
SELECT {", ".join(COLUMNS)}, detail FROM projections.dead_letters WHERE topic = $1 AND partition = $2 ORDER BY
    log_offset
"""  # noqa: S608 - constants only

STRAYS: Final = "SELECT partition, log_offset FROM projections.dead_letters WHERE topic = $1 AND partition <> ALL($2)"
"""Of partitions that were not folded, and so compared with nothing."""


def facts(rows: Iterable[asyncpg.Record]) -> dict[int, Letter]:
    return {row["log_offset"]: Letter(row["reason"], row["detail"], row["resolution"]) for row in rows}


def expected_row(
    outcome: Outcome, topic: str, partition: int, found: asyncpg.Record | None
) -> tuple[object, ...] | None:
    """The row that this entry calls for, COLUMNS in order; None when there should be none."""
    record = outcome.record
    place, kept = (topic, partition, record.offset), (record.key, record.value, appended_at(record))
    if isinstance(outcome, DeadLettered):
        discarded = found is not None and Letter(found["reason"], "", found["resolution"]).discarded
        return (*place, outcome.generation_id, outcome.reason, *kept, "discarded" if discarded else None)
    if found is not None and found["resolution"] == "retried":  # folded in the end: it keeps its record and its reason
        return (*place, found["generation_id"], found["reason"], *kept, "retried")
    return None
