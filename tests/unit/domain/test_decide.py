"""Commands against the fold: an event that is decided on a state applies to it, and any other would be ignored."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings

from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import Decision, Rejection, RequestParameters
from gengui_stream.domain.generation.evolve import apply, evolve
from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.domain.generation.state import Generation, Status
from schemas.events import Event, GenerationCancelRequested, GenerationDeleted, ProviderChoice
from tests.events import GENERATION, NOON, OWNER, histories

STAMP = EventStamp(UUID(int=7), NOON, "api", "request-1", None)
COMMANDS: dict[str, tuple[Callable[[Generation, EventStamp], Decision], type[Event]]] = {
    "cancel": (decide.cancel, GenerationCancelRequested),
    "delete": (decide.delete, GenerationDeleted),
}


def folded(history: list[Event]) -> Generation | None:
    state: Generation | None = None
    for event in history:
        state = evolve(state, event)
    return state


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=150)
@given(histories())
def test_a_command_appends_what_the_fold_applies_and_nothing_else(command: str, history: list[Event]) -> None:
    decided, made = COMMANDS[command]
    state = folded(history)
    if state is None:
        return
    decision = decided(state, STAMP)
    assert not isinstance(decision, Rejection)
    for event in decision:
        assert isinstance(apply(state, event), Generation)
    if not decision:
        event = made.model_validate(STAMP.envelope(state.generation_id))
        assert isinstance(apply(state, event), IgnoredReason)


@settings(max_examples=150)
@given(histories())
def test_a_command_that_comes_twice_appends_once(history: list[Event]) -> None:
    state = folded(history)
    for decided, _ in COMMANDS.values():
        if state is None:
            return
        decision = decided(state, STAMP)
        assert not isinstance(decision, Rejection)
        for event in decision:
            state = evolve(state, event)
        assert state is not None
        assert decided(state, STAMP) == ()


@settings(max_examples=150)
@given(histories())
def test_only_an_ended_generation_can_be_retried(history: list[Event]) -> None:
    state = folded(history)
    if state is not None:
        rejection = decide.retry(state.status)
        assert (rejection is None) == state.terminal
        assert rejection is None or str(state.status) in rejection.detail


def test_a_request_becomes_a_queued_generation_with_a_deadline() -> None:
    parameters = RequestParameters(
        owner_id=OWNER,
        prompt="a fox",
        seed=1,
        width=512,
        height=512,
        model="m",
        provider="local",
        provider_choice=ProviderChoice(source="request"),
        max_attempts=3,
        time_limit=timedelta(minutes=10),
    )
    event = decide.request(GENERATION, parameters, STAMP)
    state = evolve(None, event)
    assert state is not None
    assert (state.status, state.deadline, state.owner_id) == (Status.QUEUED, NOON + timedelta(minutes=10), OWNER)
    assert (event.id, event.correlation_id, event.attempt) == (STAMP.event_id, "request-1", 1)
