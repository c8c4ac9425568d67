"""Which attempts are paid for, and for how long: by cases that an operator would ask about."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Final

import pytest

from gengui_stream.identifiers import new_id
from gengui_stream.projections import provider_usage
from schemas.events import EVENT_CLASSES, Event
from tests.unit.projecting.test_counts import fold

BEGIN: Final = datetime(2026, 11, 30, 23, 59, 0, tzinfo=UTC)
DAY: Final = BEGIN.date()
TYPES: Final = {each.model_fields["type"].default: each for each in EVENT_CLASSES}

REQUEST: Final = {
    "owner_id": new_id(),
    "prompt": "a cat",
    "seed": 1,
    "width": 512,
    "height": 512,
    "model": "zit",
    "provider": "runpod",
    "deadline": BEGIN + timedelta(hours=1),
}
ERROR: Final = {"error": {"code": "out_of_memory", "message": "no memory", "retryable": True}}
OUTPUTS: Final = {"outputs": [{"object_key": "a.png"}, {"id": "1", "object_key": "b.png"}]}


class Story:
    """Events of one generation, each so many seconds after its beginning."""

    def __init__(self) -> None:
        self._id = new_id()
        self.events: list[Event] = []

    def then(self, type_: str, seconds: float, attempt: int | None = 1, /, **fields: object) -> "Story":
        common = {"id": new_id(), "generation_id": self._id, "producer": "test"}
        moment = BEGIN + timedelta(seconds=seconds)
        document = {**common, "occurred_at": moment, "attempt": attempt, **fields}
        self.events.append(TYPES[f"generation.{type_}"].model_validate(document))
        return self

    def used(self) -> dict[tuple[date, str], int]:
        counts: Counter[provider_usage.Key] = provider_usage.count(fold(self.events))
        assert {key[:2] for key in counts} <= {("runpod", "zit")}
        return {key[2:]: number for key, number in counts.items()}


def requested() -> Story:
    return Story().then("requested", 0, None, **REQUEST).then("dispatched", 1, provider="runpod")


def use(runs: int, images: int, run_ms: int, day: date = DAY) -> dict[tuple[date, str], int]:
    return {(day, "runs"): runs, (day, "images"): images, (day, "run_ms"): run_ms}


def test_a_run_goes_from_its_start_to_its_end() -> None:
    story = requested().then("started", 10).then("progressed", 12, percent=50).then("completed", 14.2505, **OUTPUTS)
    assert story.used() == use(1, 2, 4_250)


def test_a_run_counts_on_the_day_of_its_end() -> None:
    story = requested().then("started", 10).then("completed", 61, **OUTPUTS)
    assert story.used() == use(1, 2, 51_000, date(2026, 12, 1))


def test_an_attempt_that_failed_is_paid_for_besides_the_next_one() -> None:
    story = requested().then("started", 10).then("failed", 13, **ERROR)
    story.then("dispatched", 14, 2, provider="runpod").then("started", 20, 2).then("completed", 22, 2, **OUTPUTS)
    assert story.used() == use(2, 2, 5_000)


def test_an_attempt_that_never_started_is_not_paid_for() -> None:
    assert requested().then("failed", 13, **ERROR).used() == {}
    assert requested().then("canceled", 13).used() == {}


@pytest.mark.parametrize("given_up", ["retried", "timed_out"])
def test_a_silent_attempt_is_paid_for_until_its_last_sign_of_life(given_up: str) -> None:
    story = requested().then("started", 10).then("heartbeat_received", 15)
    assert story.then(given_up, 50, reason="silent").used() == use(1, 0, 5_000)


def test_a_canceled_run_is_paid_for() -> None:
    story = requested().then("started", 10).then("cancel_requested", 11, None).then("canceled", 12)
    assert story.used() == use(1, 0, 2_000)


def test_a_result_without_a_start_has_images_and_no_time() -> None:
    assert requested().then("completed", 14, **OUTPUTS).used() == use(1, 2, 0)


def test_reports_that_change_nothing_cost_nothing() -> None:
    story = requested().then("started", 10).then("completed", 12, **OUTPUTS)
    story.then("completed", 40, **OUTPUTS).then("failed", 50, **ERROR).then("started", 60, 2)
    assert story.used() == use(1, 2, 2_000)


def test_a_clock_that_is_behind_makes_no_negative_time() -> None:
    assert requested().then("started", 10).then("completed", 9, **OUTPUTS).used() == use(1, 2, 0)
