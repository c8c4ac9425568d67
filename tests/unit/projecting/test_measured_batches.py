"""What is measured of a committed batch: how old it was, and which generations ended."""

from collections import Counter

import pytest
from hypothesis import given

from gengui_stream.projecting.notifications import age_s, endings
from gengui_stream.projections import daily_counts
from gengui_stream.projections.outcomes import DeadLettered
from schemas.events import Event
from tests.events import FakeRecord
from tests.unit.projecting.test_counts import ENDINGS, LOGS, fold


def letter(offset: int, timestamp: int | None) -> DeadLettered:
    return DeadLettered(FakeRecord(offset, timestamp, b"", b""), None, "not_json", "")


def test_the_age_of_a_batch_is_that_of_its_first_record() -> None:
    assert age_s([letter(0, 10_000), letter(1, 11_000)], now=12.5) == 2.5


@pytest.mark.parametrize("timestamp", [None, 20_000])
def test_a_record_without_a_time_or_from_the_future_has_no_age(timestamp: int | None) -> None:
    assert not age_s([letter(0, timestamp)], now=12.5)


def test_a_batch_without_records_has_no_age() -> None:
    assert age_s([], now=1.0) is None


@given(LOGS)
def test_a_generation_ends_once(log: list[Event]) -> None:
    outcomes = fold(log)
    counted = {key: number for key, number in daily_counts.count(outcomes).items() if key[2] in ENDINGS}
    by_status: Counter[str] = Counter()
    for (_, ending), number in endings(outcomes).items():
        by_status[ending] += number
    expected: Counter[str] = Counter()
    for (_, _, ending), number in counted.items():
        expected[ending] += number
    assert by_status == expected
