"""The fold over any history: random, duplicated, reordered."""

from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from gengui_stream.domain.generation.duplicates import EARLY_MAX
from gengui_stream.domain.generation.evolve import apply, evolve
from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.projecting.folding import FoldState, fold_records
from schemas.events import Event, GenerationStarted
from tests.events import ending_events, histories, record_of, requests

HISTORIES = histories()
THUMBNAIL_EVENTS = ("thumbnail.requested", "thumbnail.created", "thumbnail.failed")

thorough = settings(max_examples=150)


def fold(history: list[Event], state: Generation | None = None) -> Generation | None:
    for event in history:
        state = evolve(state, event)
    return state


def steps(history: list[Event]) -> list[tuple[Generation | None, Event, Generation | IgnoredReason]]:
    """Each event with the state before it and the result."""
    state, taken = None, list[tuple[Generation | None, Event, Generation | IgnoredReason]]()
    for event in history:
        result = apply(state, event)
        taken.append((state, event, result))
        state = state if isinstance(result, IgnoredReason) else result
    return taken


@thorough
@given(HISTORIES, st.randoms(use_true_random=False))
def test_reordering_and_duplication_never_raise(history: list[Event], source: Random) -> None:
    twice = [*history, *history]
    source.shuffle(twice)
    fold(twice)


@thorough
@given(HISTORIES)
def test_a_terminal_status_never_changes(history: list[Event]) -> None:
    for before, _, result in steps(history):
        if before is not None and before.terminal and isinstance(result, Generation):
            assert result.status is before.status


@thorough
@given(HISTORIES)
def test_an_applied_event_raises_the_version_by_one_and_an_ignored_one_has_a_reason(history: list[Event]) -> None:
    for before, _, result in steps(history):
        match result:
            case Generation():
                assert result.version == (before.version if before else 0) + 1
            case IgnoredReason():
                assert result.value


@thorough
@given(HISTORIES, st.integers(0, 30))
def test_folding_in_pieces_is_folding_in_one_go(history: list[Event], cut: int) -> None:
    assert fold(history[cut:], fold(history[:cut])) == fold(history)


@settings(max_examples=400)
@given(st.data())
def test_an_event_appended_again_at_any_later_point_changes_nothing(data: st.DataObject) -> None:
    """Any earlier event, applied or ignored, any number of times, also one that came before the request."""
    history = data.draw(HISTORIES)
    repeats = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12))
    longer: list[Event] = []
    for place, event in enumerate(history):
        longer.append(event)
        longer += [longer[which % len(longer)] for which, after in repeats if after % len(history) == place]
    assert folded(longer) == folded(history)


def folded(history: list[Event]) -> dict[UUID, Generation]:
    """The states as the projector would store them."""
    known = FoldState()
    fold_records([(record_of(event, offset), event) for offset, event in enumerate(history)], known)
    return dict(known.states)


@thorough
@given(st.integers(0, 6), st.integers(0, 6))
def test_a_flood_of_events_that_come_too_early_fails_the_generation(before: int, extra: int) -> None:
    """The state remembers a bounded number of them, and recognises every one."""
    request, [completed, *_] = requests()[0], ending_events()
    bogus = [
        GenerationStarted.model_validate({**completed.model_dump(), "type": "generation.started", "id": UUID(int=n)})
        for n in range(EARLY_MAX + extra + before)
    ]
    numbered = [event.model_copy(update={"attempt": 3}) for event in bogus]
    history = [*numbered[:before], request, *numbered[before:]]
    [state] = folded(history).values()
    assert (state.status is Status.FAILED) == (len(numbered) > EARLY_MAX)
    assert folded([*history, *numbered]) == folded(history)


@thorough
@given(HISTORIES)
def test_progress_only_grows_within_an_attempt(history: list[Event]) -> None:
    for before, _, after in steps(history):
        if before is None or isinstance(after, IgnoredReason) or before.attempt != after.attempt:
            continue
        assert (after.percent or 0) >= (before.percent or 0)
        assert before.percent is None or after.percent is not None


@thorough
@given(HISTORIES)
def test_attempts_grow_by_one_and_never_exceed_the_maximum(history: list[Event]) -> None:
    for before, _, after in steps(history):
        if isinstance(after, Generation):
            assert after.attempt - (before.attempt if before else 1) in {0, 1}
            assert 1 <= after.attempt <= after.max_attempts


@thorough
@given(HISTORIES)
def test_an_event_of_another_attempt_is_ignored(history: list[Event]) -> None:
    always = ("generation.requested", *THUMBNAIL_EVENTS, "generation.deleted", "outputs.deleted")
    for before, event, result in steps(history):
        if before is None or event.attempt in {None, before.attempt} or event.type in always:
            continue
        assert result in {IgnoredReason.TERMINAL, IgnoredReason.STALE_ATTEMPT, IgnoredReason.UNKNOWN_ATTEMPT}


@thorough
@given(HISTORIES)
def test_what_was_asked_for_never_changes(history: list[Event]) -> None:
    for before, _, after in steps(history):
        if before is not None and isinstance(after, Generation):
            fixed = {"generation_id", "owner_id", "model", "max_attempts", "deadline", "requested_at"}
            assert all(getattr(before, name) == getattr(after, name) for name in fixed)


@thorough
@given(HISTORIES)
def test_a_canceled_generation_is_never_queued_again(history: list[Event]) -> None:
    state = fold(history)
    assert not (state and state.cancel_requested and state.status is Status.QUEUED)


@thorough
@given(HISTORIES)
def test_output_ids_are_unique(history: list[Event]) -> None:
    state = fold(history)
    ids = [output.id for output in state.outputs] if state else []
    assert len(ids) == len(set(ids))


@thorough
@given(HISTORIES)
def test_a_thumbnail_event_that_counted_never_counts_again(history: list[Event]) -> None:
    """However late it is appended again, and whatever was requested since."""
    counted = [event for _, event, after in steps(history) if not isinstance(after, IgnoredReason)]
    state = fold(history)
    for event in counted:
        if event.type in THUMBNAIL_EVENTS:
            assert isinstance(apply(state, event), IgnoredReason)
