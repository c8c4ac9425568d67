"""The meaning of the workers' status messages; no message can break the bridge."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.bridge.messages import ENTRY_MAX_CHARACTERS, InvalidMessage, dead_letter, translate
from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.redis_io.streams import StreamEntry
from schemas.events import GenerationCompleted, GenerationFailed, GenerationRequested, GenerationStarted
from tests.events import GENERATION, NOON, OWNER

NOW = NOON + timedelta(minutes=1)
ENTRY_ID = f"{int(NOON.timestamp() * 1000)}-7"
MEDIA_ID = str(GENERATION)


def entry(entry_id: str = ENTRY_ID, **fields: str) -> StreamEntry:
    return StreamEntry(entry_id, fields)


def processing() -> Generation | None:
    requested = GenerationRequested(
        id=GENERATION,
        generation_id=GENERATION,
        occurred_at=NOON,
        producer="test",
        owner_id=OWNER,
        prompt="a lake",
        seed=1,
        width=512,
        height=512,
        model="m",
        provider="local",
    )
    started = GenerationStarted(id=GENERATION, generation_id=GENERATION, occurred_at=NOON, producer="test")
    return evolve(evolve(None, requested), started)


def test_processing_is_started() -> None:
    event = translate(entry(mediaId=MEDIA_ID, status="processing"), NOW)
    assert isinstance(event, GenerationStarted)
    assert (event.generation_id, event.attempt, event.occurred_at) == (GENERATION, None, NOON)


def test_completed_has_the_key_of_its_output() -> None:
    event = translate(entry(mediaId=MEDIA_ID, status="completed", s3Key="users/u/media/a.png"), NOW)
    assert isinstance(event, GenerationCompleted)
    assert [output.object_key for output in event.outputs] == ["users/u/media/a.png"]


def test_the_same_entry_is_the_same_event() -> None:
    first, again, other = (
        translate(entry(entry_id, mediaId=MEDIA_ID, status="processing"), now)
        for entry_id, now in [(ENTRY_ID, NOW), (ENTRY_ID, NOW + timedelta(hours=1)), ("1-1", NOW)]
    )
    assert first == again
    assert not isinstance(first, InvalidMessage)
    assert not isinstance(other, InvalidMessage)
    assert first.id != other.id


def test_a_failure_read_twice_uses_up_no_attempt() -> None:
    event = translate(entry(mediaId=MEDIA_ID, status="failed", error="out of memory"), NOW)
    assert isinstance(event, GenerationFailed)
    once = evolve(processing(), event)
    assert once is not None
    assert (once.status, once.attempt) == (Status.FAILED, 1)
    assert evolve(once, event) is once


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("", "the worker gave no reason"),
        (" CUDA out\nof memory ", "CUDA out of memory"),
        ('Traceback (most recent call last):\n  File "a.py", line 1\nValueError: bad seed\n', "ValueError: bad seed"),
        ("nul\x00 and \udcff", "nul\ufffd and \ufffd"),
        ("x" * 9_000, "x" * 500),
    ],
)
def test_the_reason_of_a_failure_is_fit_for_people(error: str, message: str) -> None:
    event = translate(entry(mediaId=MEDIA_ID, status="failed", error=error), NOW)
    assert isinstance(event, GenerationFailed)
    assert event.error.message == message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "deleted"),
        ({"status": "processing"}, "no_media_id"),
        ({"mediaId": "", "status": "processing"}, "no_media_id"),
        ({"mediaId": "42", "status": "processing"}, "bad_media_id"),
        ({"mediaId": MEDIA_ID + "\x00", "status": "processing"}, "bad_media_id"),
        ({"mediaId": "{" + MEDIA_ID + "}", "status": "processing"}, "bad_media_id"),
        ({"mediaId": "\udcff", "status": "processing"}, "bad_media_id"),
        ({"mediaId": MEDIA_ID}, "no_status"),
        ({"mediaId": MEDIA_ID, "status": "dreaming"}, "unknown_status"),
        ({"mediaId": MEDIA_ID, "status": "completed"}, "no_s3_key"),
        ({"mediaId": MEDIA_ID, "status": "completed", "s3Key": "a\x00b"}, "bad_s3_key"),
        ({"mediaId": MEDIA_ID, "status": "completed", "s3Key": "a\udc80b"}, "bad_s3_key"),
        ({"mediaId": MEDIA_ID, "status": "completed", "s3Key": "k" * 1_025}, "bad_s3_key"),
        ({"mediaId": MEDIA_ID, "status": "processing", "x": "y" * ENTRY_MAX_CHARACTERS}, "oversize"),
    ],
)
def test_an_invalid_message_has_a_reason(fields: dict[str, str], reason: str) -> None:
    invalid = translate(StreamEntry(ENTRY_ID, fields), NOW)
    assert isinstance(invalid, InvalidMessage)
    assert invalid.reason == reason
    letter = dead_letter(StreamEntry(ENTRY_ID, fields), invalid)
    assert fields.items() <= letter.items()
    assert letter["dead.reason"] == reason
    letter["dead.detail"].encode()  # readable, whatever the entry held


def test_a_status_that_waited_for_days_counts_from_now() -> None:
    late = NOON + timedelta(days=3)
    event = translate(entry(mediaId=MEDIA_ID, status="processing"), late)
    assert not isinstance(event, InvalidMessage)
    assert event.occurred_at == late


texts = st.text(st.characters(codec=None), max_size=40) | st.just(MEDIA_ID)
statuses = st.sampled_from(["processing", "completed", "failed", "queued", ""]) | texts
entries = st.builds(
    StreamEntry,
    st.builds("{}-{}".format, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    st.dictionaries(texts, texts)
    | st.fixed_dictionaries({"mediaId": texts, "status": statuses}, optional={"s3Key": texts, "error": texts}),
)


@given(entries, st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_every_entry_is_an_event_or_invalid(anything: StreamEntry, now: datetime) -> None:
    result = translate(anything, now)
    if isinstance(result, InvalidMessage):
        assert result.reason
    else:
        result.model_dump_json().encode()
        assert abs(result.occurred_at - now) <= timedelta(hours=12)
