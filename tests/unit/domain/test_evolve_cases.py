"""Single cases of the fold that are easy to get wrong."""

from datetime import timedelta

import pytest

from gengui_stream.domain.generation.evolve import apply, evolve
from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.jobs import new_jobs
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.projections.generation_states import document_of, outputs_from
from schemas.events import (
    Event,
    Failure,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationProgressed,
    GenerationRequested,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
    Output,
    SourceImage,
    ThumbnailCreated,
    ThumbnailFailed,
    ThumbnailRequested,
)
from tests.events import GENERATION, NOON, OWNER
from tests.timings import TIMINGS


def fold(history: list[Event]) -> Generation | None:
    state = None
    for event in history:
        state = evolve(state, event)
    return state


def said(cls: type[Event], seconds: int = 0, **fields: object) -> Event:
    """An event of the one generation, this number of seconds after noon."""
    moment = NOON + timedelta(seconds=seconds)
    return cls.model_validate(
        {"id": GENERATION, "generation_id": GENERATION, "occurred_at": moment, "producer": "t", **fields}
    )


REQUESTED = said(
    GenerationRequested, owner_id=OWNER, prompt="p", seed=1, width=512, height=512, model="m", provider="local"
)
AFTER = NOON + timedelta(seconds=10)
LOST = said(GenerationFailed, error=Failure(code="lost", message="gone", retryable=True))


def test_a_failure_told_twice_without_an_attempt_takes_one_attempt() -> None:
    state = fold([REQUESTED, said(GenerationDispatched, provider="local"), LOST])
    assert state is not None
    assert apply(state, LOST) is IgnoredReason.STALE_ATTEMPT
    assert apply(state, said(GenerationRetried, reason="lost")) is IgnoredReason.STALE_ATTEMPT
    assert state.attempt == 2


def test_a_failure_without_an_attempt_repeated_after_the_next_dispatch_takes_no_attempt() -> None:
    again = said(GenerationDispatched, seconds=8, attempt=2, provider="local")
    state = fold([REQUESTED, said(GenerationDispatched, provider="local"), LOST, again])
    assert state is not None
    assert apply(state, LOST) is IgnoredReason.STALE_ATTEMPT
    assert evolve(state, LOST) is state


def test_reports_of_a_worker_that_sends_no_attempt_count_for_the_next_attempt_too() -> None:
    again = said(GenerationDispatched, seconds=8, attempt=2, provider="local")
    started, failed = said(GenerationStarted, seconds=9), LOST.model_copy(update={"occurred_at": AFTER})
    state = fold([REQUESTED, said(GenerationDispatched, provider="local"), LOST, again, started])
    assert state is not None
    assert (state.status, state.attempt) == (Status.PROCESSING, 2)
    later = evolve(state, failed)
    assert later is not None
    assert (later.status, later.attempt) == (Status.QUEUED, 3)


def test_a_retry_that_had_no_attempts_left_is_not_applied_when_it_is_repeated_after_a_cancellation() -> None:
    last = REQUESTED.model_copy(update={"max_attempts": 1})
    lost = said(GenerationRetried, reason="worker lost").model_copy(update={"id": OWNER})
    state = fold([last, said(GenerationDispatched, provider="local"), lost, said(GenerationCancelRequested)])
    assert state is not None
    assert evolve(state, lost) is state


def test_an_event_that_came_before_its_attempt_is_not_applied_when_it_is_repeated() -> None:
    early = said(GenerationStarted, seconds=9, attempt=2).model_copy(update={"id": OWNER})
    state = fold([REQUESTED, early, LOST, said(GenerationDispatched, seconds=8, attempt=2, provider="local")])
    assert apply(state, early) is IgnoredReason.DUPLICATE


@pytest.mark.parametrize(
    "late",
    [
        said(GenerationStarted, seconds=9),
        said(GenerationProgressed, seconds=9, percent=70),
        said(GenerationHeartbeatReceived, seconds=9),
    ],
)
def test_a_lost_worker_that_comes_back_does_not_take_the_attempt_that_was_not_dispatched(late: Event) -> None:
    """Otherwise that attempt would be waited for, and never dispatched."""
    given_up = [REQUESTED, said(GenerationDispatched, provider="local"), said(GenerationRetried, reason="silent")]
    state = fold(given_up)
    assert state is not None
    assert apply(state, late) is IgnoredReason.STALE_ATTEMPT
    handed_over = fold([*given_up, said(GenerationDispatched, seconds=8, provider="local"), late])
    assert handed_over is not None
    assert (handed_over.status, handed_over.attempt) == (Status.PROCESSING, 2)


def test_its_result_is_taken_all_the_same() -> None:
    done = said(GenerationCompleted, seconds=9, outputs=(Output(object_key="a"),))
    state = fold([REQUESTED, said(GenerationDispatched, provider="local"), LOST, done])
    assert state is not None
    assert state.status is Status.COMPLETED


def test_a_first_attempt_may_fail_before_its_dispatched_event() -> None:
    state = fold([REQUESTED, LOST])
    assert state is not None
    assert (state.status, state.attempt) == (Status.QUEUED, 2)


def test_a_retry_of_an_unwanted_generation_cancels_it() -> None:
    started, unwanted = said(GenerationDispatched, provider="local"), said(GenerationCancelRequested)
    state = fold([REQUESTED, started, unwanted, said(GenerationRetried, seconds=3, reason="worker lost")])
    assert state is not None
    assert (state.status, state.attempt, state.ended_at) == (Status.CANCELED, 1, NOON + timedelta(seconds=3))


def test_outputs_with_the_same_id_are_numbered_by_their_place() -> None:
    outputs = (Output(object_key="a"), Output(object_key="b"))
    state = fold([REQUESTED, said(GenerationCompleted, outputs=outputs)])
    assert state is not None
    assert [(output.id, output.object_key) for output in state.outputs] == [("0", "a"), ("1", "b")]


def test_no_retry_after_the_deadline() -> None:
    requested = REQUESTED.model_copy(update={"deadline": NOON + timedelta(seconds=5)})
    late = LOST.model_copy(update={"occurred_at": NOON + timedelta(seconds=5)})
    state = fold([requested, late])
    assert state is not None
    assert (state.status, state.attempt) == (Status.FAILED, 1)


@pytest.mark.parametrize("kind", [GenerationRetried, GenerationTimedOut])
@pytest.mark.parametrize(("seen", "given_up"), [(0, False), (19, False), (20, True), (30, True), (None, True)], ids=str)
def test_an_attempt_with_a_later_sign_of_life_is_not_given_up(
    kind: type[Event], seen: int | None, given_up: bool
) -> None:
    """The producer of the event had not seen everything on the log."""
    beat = said(GenerationHeartbeatReceived, seconds=20)
    state = fold([REQUESTED, said(GenerationDispatched, provider="local"), said(GenerationStarted, seconds=10), beat])
    assert state is not None
    last = None if seen is None else NOON + timedelta(seconds=seen)
    result = apply(state, said(kind, seconds=60, reason="silent", last_heard_at=last))
    assert (result is not IgnoredReason.HEARD_SINCE) == given_up
    assert isinstance(result, Generation) == given_up


@pytest.mark.parametrize(
    ("reports", "sends"),
    [
        ([], True),
        ([said(GenerationStarted, seconds=10, attempt=1)], True),
        ([said(GenerationStarted, seconds=10)], False),
        ([said(GenerationStarted, seconds=10), said(GenerationHeartbeatReceived, seconds=20)], True),
        ([said(GenerationStarted, seconds=10), said(GenerationRetried, seconds=99, reason="x")], True),
    ],
)
def test_a_worker_that_reports_without_an_attempt_is_expected_to_send_no_heartbeats(
    reports: list[Event], sends: bool
) -> None:
    state = fold([REQUESTED, said(GenerationDispatched, provider="local", attempt=1), *reports])
    assert state is not None
    assert state.sends_heartbeats is sends


COMPLETED = said(GenerationCompleted, outputs=(Output(object_key="a"), Output(id="1", object_key="b")))


def created(object_key: str = "t", revision: int = 1) -> Event:
    pixels = {"width": 128, "height": 96, "bytes": 9}
    return said(ThumbnailCreated, object_key=object_key, revision=revision, mime_type="image/webp", **pixels)


def thumbnails(*events: Event) -> Generation:
    """A completed generation after these events."""
    state = fold([REQUESTED, COMPLETED, *events])
    assert state is not None
    return state


def test_a_thumbnail_fills_in_what_the_worker_has_not_said() -> None:
    source = SourceImage(mime_type="image/jpeg", width=640, height=480, bytes=1_000, sha256="a" * 64)
    outputs = (Output(object_key="a"), Output(id="1", object_key="b", mime_type="image/png", bytes=0))
    made = [created().model_copy(update={"output_id": output.id, "source": source}) for output in outputs]
    state = fold([REQUESTED, said(GenerationCompleted, outputs=outputs), *made])
    assert state is not None
    unknown, known = state.outputs
    assert (unknown.mime_type, unknown.width, unknown.height, unknown.bytes) == ("image/jpeg", 640, 480, 1_000)
    assert (known.mime_type, known.width, known.bytes, known.sha256) == ("image/png", 640, 0, "a" * 64)
    assert unknown.described
    assert not thumbnails(created()).outputs[0].described


def test_a_requested_thumbnail_is_one_job_of_a_new_key() -> None:
    before = thumbnails(said(ThumbnailFailed, reason="object_missing"))
    after = evolve(before, said(ThumbnailRequested, revision=2))
    assert after is not None
    assert [job.key for job in new_jobs(before, after, TIMINGS)] == [f"thumbnail:{GENERATION}:0:2"]
    assert after.outputs[0].open
    assert apply(after, said(ThumbnailRequested, revision=2)) is IgnoredReason.THUMBNAIL_ALREADY_REQUESTED


def test_the_thumbnail_there_is_stays_until_the_new_one_is_made() -> None:
    requested = thumbnails(created(), said(ThumbnailRequested, revision=2))
    [output, _] = requested.outputs
    assert (output.open, output.thumbnail and output.thumbnail.object_key) == (True, "t")
    made = evolve(requested, created("new", revision=2))
    assert made is not None
    [output, _] = made.outputs
    assert (output.open, output.thumbnail and output.thumbnail.object_key) == (False, "new")


def test_a_new_thumbnail_that_cannot_be_made_leaves_the_old_one_and_the_reason() -> None:
    state = thumbnails(
        created(),
        said(ThumbnailRequested, revision=2),
        said(ThumbnailFailed, revision=2, reason="object_missing"),
    )
    [output, _] = state.outputs
    assert (output.open, output.thumbnail_error) == (False, "object_missing")
    assert output.thumbnail is not None


@pytest.mark.parametrize("late", [created(), said(ThumbnailFailed, reason="object_missing")])
def test_what_became_of_an_earlier_request_does_not_answer_a_later_one(late: Event) -> None:
    state = thumbnails(said(ThumbnailRequested, revision=2))
    assert apply(state, late) is IgnoredReason.OTHER_THUMBNAIL_REVISION


def test_no_thumbnail_is_requested_of_what_is_not_there() -> None:
    request = said(ThumbnailRequested, revision=2)
    assert apply(fold([REQUESTED]), request) is IgnoredReason.NOT_COMPLETED
    assert apply(thumbnails(said(GenerationDeleted)), request) is IgnoredReason.ALREADY_DELETED
    unknown = said(ThumbnailRequested, output_id="7", revision=2)
    assert apply(thumbnails(), unknown) is IgnoredReason.UNKNOWN_OUTPUT


def test_rows_without_a_request_are_written_as_before_there_were_requests() -> None:
    """`verify` compares them with rows of older versions."""
    first, again = created(), said(ThumbnailRequested, revision=2)
    for state in (thumbnails(), thumbnails(first)):
        assert "revision" not in document_of(state.outputs)
    for state in (thumbnails(first, again), thumbnails(again, created(revision=2))):
        assert outputs_from(document_of(state.outputs)) == state.outputs
