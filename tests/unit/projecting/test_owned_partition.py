"""The cache of a partition: generations that have not ended, within its limit."""

from collections.abc import Mapping
from functools import reduce
from uuid import UUID

import pytest

from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.state import Generation
from gengui_stream.projecting import owned_partition
from gengui_stream.projecting.checkpoints import Claim
from gengui_stream.projecting.dead_letter_limits import DeadLetterCount
from gengui_stream.projecting.owned_partition import OwnedPartition
from tests.events import EVENTS_A_GENERATION, wide_history

COMPLETED = EVENTS_A_GENERATION - 1
"""Events until its thumbnail is all that it lacks."""


def state_after(events: int, number: int = 0) -> Generation:
    nothing: Generation | None = None
    state = reduce(evolve, wide_history(number)[:events], nothing)
    assert state is not None
    return state


def advanced(*batches: Mapping[UUID, Generation]) -> OwnedPartition:
    held = OwnedPartition(Claim(0, 0, 1), set())
    for place, states in enumerate(batches, 1):
        held.advance(place, states, set(), DeadLetterCount())
    return held


@pytest.mark.parametrize("events", range(1, COMPLETED + 1))
def test_a_generation_is_remembered_while_anything_of_it_is_in_progress(events: int) -> None:
    state = state_after(events)
    assert advanced({state.generation_id: state}).known([state.generation_id]) == {state.generation_id: state}


def test_a_settled_one_is_forgotten() -> None:
    before, settled = state_after(COMPLETED), state_after(EVENTS_A_GENERATION)
    assert settled.version == before.version + 1
    held = advanced({before.generation_id: before}, {settled.generation_id: settled})
    assert held.states == {}


def test_the_states_changed_longest_ago_are_evicted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_partition, "CACHED_STATES", 2)
    first, second, third = (state_after(3, number) for number in range(3))
    by_id = {state.generation_id: state for state in (first, second)}
    held = advanced(by_id, {first.generation_id: first}, {third.generation_id: third})
    assert set(held.states) == {first.generation_id, third.generation_id}
