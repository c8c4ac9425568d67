"""The limits on dead letters, against a plain count."""

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.errors import DeadLetterFloodError
from gengui_stream.log.codec import UnknownType
from gengui_stream.projecting.dead_letter_limits import (
    SHARE_FROM,
    WINDOW,
    DeadLetterCount,
    DeadLetterLimits,
    count_dead_letters,
)
from gengui_stream.projections.outcomes import PARKED, DeadLettered, Ignored, Outcome
from tests.events import FakeRecord

RECORD = FakeRecord(7, None, None, b"{")
GOOD: Outcome = Ignored(RECORD, UnknownType("future.thing", None), None, IgnoredReason.UNKNOWN_TYPE)
DEAD: Outcome = DeadLettered(RECORD, None, "not_json", "no JSON")
BEHIND: Outcome = DeadLettered(RECORD, None, PARKED, "behind another")
GENEROUS = DeadLetterLimits(WINDOW, 1.0)


@given(st.lists(st.lists(st.sampled_from([GOOD, DEAD, BEHIND]), max_size=20), max_size=10))
def test_the_count_does_not_depend_on_the_batches(batches: list[list[Outcome]]) -> None:
    count = DeadLetterCount()
    for batch in batches:
        count = count_dead_letters(GENEROUS, 0, count, batch)
    outcomes = [outcome for batch in batches for outcome in batch if outcome is not BEHIND]
    consecutive = len(list(takewhile(lambda outcome: outcome is DEAD, reversed(outcomes))))
    assert count == DeadLetterCount(consecutive, sum(map(len, batches)), outcomes.count(DEAD))


@pytest.mark.parametrize(("number", "flood"), [(4, False), (5, True)])
def test_consecutive_dead_letters_reach_a_limit(number: int, flood: bool) -> None:
    limits, outcomes = DeadLetterLimits(max_consecutive=5), [GOOD, *[DEAD] * number, BEHIND]
    if not flood:
        assert count_dead_letters(limits, 3, DeadLetterCount(), outcomes).consecutive == number
        return
    with pytest.raises(DeadLetterFloodError, match=r"partition 3: 5 consecutive .* 3:7 \(not_json: no JSON\)"):
        count_dead_letters(limits, 3, DeadLetterCount(), outcomes)


def test_a_share_of_dead_letters_is_checked_once_there_are_enough_records() -> None:
    limits, outcomes = DeadLetterLimits(max_share=0.1), [*[GOOD] * 8, *[DEAD] * 2]
    count = DeadLetterCount()
    while count.records < SHARE_FROM - len(outcomes):
        count = count_dead_letters(limits, 0, count, outcomes)
    with pytest.raises(DeadLetterFloodError, match="200 of the latest 1000 records"):
        count_dead_letters(limits, 0, count, outcomes)


def test_the_share_is_about_the_latest_records() -> None:
    """Old dead letters count less and less."""
    limits = DeadLetterLimits(max_share=0.05)
    count = count_dead_letters(limits, 0, DeadLetterCount(), [*[DEAD] * 40, *[GOOD] * (WINDOW - 40)])
    for _ in range(4):
        count = count_dead_letters(limits, 0, count, [GOOD] * (WINDOW // 2))
    assert count.dead <= 2
    assert count.records < WINDOW
