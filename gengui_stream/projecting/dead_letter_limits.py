"""Limits on dead letters (law 4): a flood is the fault of this version or of a producer, not of records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gengui_stream.errors import DeadLetterFloodError
from gengui_stream.projections.outcomes import PARKED, DeadLettered, Outcome

SHARE_FROM: Final = 1_000
"""Records of a partition before their share of dead letters is checked: of a few, one is a large share."""

WINDOW: Final = 10_000
"""Both counts are halved at this number of records, so that the share is about the latest ones."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """`max_consecutive`: dead letters without another record between them. `max_share`: of the latest records of a
    partition, 0 to 1. Reaching either ends the process."""

    max_consecutive: int = 1_000
    max_share: float = 0.05


DEFAULT_LIMITS: Final = DeadLetterLimits()


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """The dead letters among the latest records of a partition, without parked events, whose fault it is not."""

    consecutive: int = 0
    records: int = 0
    dead: int = 0

    def after(self, outcomes: Iterable[Outcome]) -> "DeadLetterCount":
        consecutive, records, dead = self.consecutive, self.records, self.dead
        for outcome in outcomes:
            records += 1
            if not isinstance(outcome, DeadLettered):
                consecutive = 0
            elif outcome.reason != PARKED:
                consecutive, dead = consecutive + 1, dead + 1
        if records < WINDOW:
            return DeadLetterCount(consecutive, records, dead)
        return DeadLetterCount(consecutive, records // 2, dead // 2)


def count_dead_letters(
    limits: DeadLetterLimits, partition: int, before: DeadLetterCount, outcomes: Sequence[Outcome]
) -> DeadLetterCount:
    """The count after these outcomes. Raises DeadLetterFloodError when they bring it to a limit."""
    count = before.after(outcomes)
    last = next((each for each in reversed(outcomes) if isinstance(each, DeadLettered) and each.reason != PARKED), None)
    reached = _reached(limits, count)
    if last is None or reached is None:
        return count
    raise DeadLetterFloodError(
        f"partition {partition}: {reached}, the last at {partition}:{last.record.offset} ({last.reason}: "
        f"{last.detail}). It is not committed. Either this version cannot read the log, or a producer floods it: "
        "`gengui-stream dead-letters list` shows the records; DEAD_LETTERS_MAX_CONSECUTIVE and DEAD_LETTERS_MAX_SHARE "
        "are the limits."
    )


def _reached(limits: DeadLetterLimits, count: DeadLetterCount) -> str | None:
    if count.consecutive >= limits.max_consecutive:
        return f"{count.consecutive} consecutive records are dead letters"
    if count.records >= SHARE_FROM and count.dead > limits.max_share * count.records:
        return f"{count.dead} of the latest {count.records} records are dead letters"
    return None
