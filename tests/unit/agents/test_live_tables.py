"""A row of the live table `in_flight` after each event."""

from datetime import UTC, datetime

import pytest
from hypothesis import given

from agents.live_tables import InFlight, as_row, from_row, step
from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.changelogs import STATE
from schemas.events import (
    Event,
    Failure,
    GenerationCancelRequested,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationRetried,
    GenerationStarted,
)
from tests.events import histories
from tests.integration.running import a_request


def common(request: Event) -> dict[str, object]:
    return request.model_dump(include={"id", "generation_id", "attempt", "producer"}) | {
        "occurred_at": datetime.now(UTC)
    }


def test_a_failed_attempt_is_queued_again_while_there_are_attempts() -> None:
    request = a_request(max_attempts=2)
    row = step(None, request)
    again = GenerationFailed.model_validate(
        common(request) | {"error": Failure(code="lost", message="gone", retryable=True)}
    )
    row = step(row, again)
    assert isinstance(row, InFlight)
    assert (row.status, row.state.attempt) == ("queued", 2)
    assert step(row, again) == row, "it speaks of an attempt that is over"
    assert step(row, again.model_copy(update={"attempt": 2})) is None


def in_flight(request: Event, *kinds: type[Event]) -> InFlight:
    row = step(None, request)
    for kind in kinds:
        row = step(row, kind.model_validate(common(request)))
    assert row is not None
    return row


@pytest.mark.parametrize("kind", [GenerationStarted, GenerationHeartbeatReceived])
def test_a_canceling_generation_stays_so_while_its_worker_reports(kind: type[Event]) -> None:
    request = a_request()
    canceling = in_flight(request, GenerationStarted, GenerationCancelRequested)
    assert canceling.status == "canceling"
    after = step(canceling, kind.model_validate(common(request)))
    assert after is not None
    assert after.shown == canceling.shown


def test_what_is_being_canceled_is_not_tried_again() -> None:
    request = a_request(max_attempts=1)
    retried = GenerationRetried.model_validate(common(request) | {"reason": "silent"})
    assert step(in_flight(request, GenerationStarted, GenerationCancelRequested), retried) is None
    processing = in_flight(request, GenerationStarted)
    after = step(processing, retried)
    assert after is not None
    assert after.shown == processing.shown


@given(histories())
def test_the_table_shows_the_generations_that_have_not_ended(log: list[Event]) -> None:
    """After every event, a row holds the state that the projector folds, and survives its JSON."""
    state: Generation | None = None
    row: InFlight | None = None
    for event in log:
        state = evolve(state, event)
        row = step(row, event)
        if state is None or state.terminal or state.deleted_at:
            assert row is None
        else:
            assert row is not None
            assert row.state == state
            assert from_row(as_row(row)) == row
        if state is not None and row is None:
            return  # a request after the end makes a row, and no generation


def test_a_row_shows_no_state() -> None:
    row = as_row(in_flight(a_request(max_attempts=2), GenerationStarted))
    assert {name: part for name, part in row.items() if name not in {STATE, "since"}} == {
        "status": "processing",
        "attempt": 1,
        "max_attempts": 2,
    }


def test_a_row_of_an_earlier_version_counts_as_none() -> None:
    row = {"status": "queued", "attempt": 1, "max_attempts": 3, "since": "2026-06-01T12:00:00+00:00"}
    assert from_row(row) is None
