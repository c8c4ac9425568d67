"""The codec against the event language: every encoded event is decoded again, and every other record has a reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.log.codec import (
    CLOCK_SKEW_MAX,
    EARLIEST,
    LATEST,
    VALUE_MAX_BYTES,
    Undecodable,
    UnknownType,
    as_document,
    decode,
    encode_headers,
    encode_key,
    encode_value,
    plausible_time,
)
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projections.outcomes import Applied, Ignored
from schemas.events import EVENT_CLASSES, Event, GenerationProgressed
from tests.events import GENERATION, NOON, ending_events, histories, record_of, requests, running_events, wide_history

ONE_OF_EACH = [*requests(), *running_events(), *ending_events()]
PROGRESSED = GenerationProgressed(id=GENERATION, generation_id=GENERATION, occurred_at=NOON, producer="t", percent=1)
KEY = encode_key(PROGRESSED)

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=100)
moments = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(3000, 1, 1),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
envelopes = st.fixed_dictionaries(
    {"id": st.uuids(), "generation_id": st.uuids(), "occurred_at": moments, "producer": words},
    optional={
        "attempt": st.integers(1, 1_000),
        "correlation_id": words,
        "tracestate": words,
        "traceparent": st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    },
)


def events() -> SearchStrategy[Event]:
    """Any event in any envelope."""
    return st.tuples(st.sampled_from(ONE_OF_EACH), envelopes).map(
        lambda pair: type(pair[0]).model_validate(pair[0].model_dump() | pair[1])
    )


def document(**changes: object) -> dict[str, object]:
    """The value of a valid record with changes; `...` removes a field."""
    plain: dict[str, object] = json.loads(encode_value(PROGRESSED)) | changes
    return {name: value for name, value in plain.items() if value is not ...}


def said(value: bytes | None, key: bytes | None = KEY) -> Undecodable:
    decoded = decode(key, value)
    assert isinstance(decoded, Undecodable)
    return decoded


def test_the_samples_are_the_whole_language() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(EVENT_CLASSES) == set(get_args(Event))


@given(events())
def test_what_is_written_is_read_again(event: Event) -> None:
    assert decode(encode_key(event), encode_value(event)) == event


@given(histories(max_size=5))
def test_so_are_histories(history: list[Event]) -> None:
    assert [decode(encode_key(event), encode_value(event)) for event in history] == history


@given(events())
def test_the_value_is_plain_json_with_times_in_utc_and_no_nulls(event: Event) -> None:
    written = json.loads(encode_value(event))
    assert None not in written.values()
    assert written["occurred_at"].endswith("Z")
    assert datetime.fromisoformat(written["occurred_at"]) == event.occurred_at


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: event.type)
def test_a_version_may_be_written_with_a_fraction_of_zero(event: Event) -> None:
    """For JSON Schema 1.0 is an integer, and some languages write all numbers so."""
    written = json.loads(encode_value(event))
    value = json.dumps(written | {"schema_version": float(written["schema_version"])}).encode()
    assert decode(encode_key(event), value) == event


def test_a_time_at_the_end_of_the_calendar_is_written_all_the_same() -> None:
    last = datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5)))
    event = PROGRESSED.model_copy(update={"occurred_at": last})
    assert decode(KEY, encode_value(event)) == event


@given(events())
def test_headers_are_the_envelope_as_cloudevents_in_binary_mode(event: Event) -> None:
    headers = {name: value.decode() for name, value in encode_headers(event)}
    assert len(headers) == len(encode_headers(event))
    assert datetime.fromisoformat(headers.pop("ce_time")) == event.occurred_at
    optional = {
        "ce_correlationid": event.correlation_id,
        "ce_traceparent": event.traceparent,
        "ce_tracestate": event.tracestate,
    }
    assert headers == {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": str(event.id),
        "ce_source": f"gengui/{event.producer}",
        "ce_type": event.type,
        "ce_subject": str(event.generation_id),
        "ce_dataschema": f"{event.type}.v{event.schema_version}.json",
    } | {name: value for name, value in optional.items() if value is not None}


@given(events(), st.dictionaries(st.text(min_size=1).map("x_".__add__), st.integers() | st.text() | st.none()))
def test_fields_of_a_newer_writer_are_ignored_wherever_they_are(event: Event, newer: dict[str, object]) -> None:
    plain = json.loads(encode_value(event)) | newer
    for part in (plain.get("error"), *(plain.get("outputs") or ())):
        if part is not None:
            part.update(newer)
    assert decode(encode_key(event), json.dumps(plain).encode()) == event


@given(st.text(max_size=200), st.dictionaries(st.text(), st.integers()))
def test_types_of_the_future_are_known_to_be_unknown(suffix: str, rest: dict[str, int]) -> None:
    name = f"generation.upscaled{suffix}"
    decoded = decode(KEY, json.dumps(rest | {"type": name}).encode())
    assert isinstance(decoded, UnknownType)
    assert decoded.generation_id == GENERATION
    assert decoded.type == name[:100].replace("\x00", "")


@pytest.mark.parametrize("changes", [{}, {"percent": ...}, {"percent": {"of": 100}}, {"occurred_at": 1}, {"id": None}])
def test_a_later_version_of_an_event_is_ignored_whatever_has_changed(changes: dict[str, object]) -> None:
    """A newer process appends it during an update; an older one must not park its generation."""
    later = json.dumps(document(schema_version=2, **changes)).encode()
    assert decode(KEY, later) == UnknownType("generation.progressed", GENERATION, 2)


def test_later_events_of_a_generation_follow_one_of_a_later_version() -> None:
    request, *behind = wide_history(0)[:3]
    later = record_of(behind[0], 1)
    newer = replace(later, value=(later.value or b"").replace(b'"schema_version":1', b'"schema_version":2'))
    known = FoldState()
    outcomes = fold_records(decode_records([record_of(request, 0), newer, record_of(behind[1], 2)]), known)
    assert [type(outcome) for outcome in outcomes] == [Applied, Ignored, Applied]
    assert isinstance(outcomes[1], Ignored)
    assert outcomes[1].reason is IgnoredReason.UNKNOWN_VERSION


def test_a_type_of_the_future_needs_no_key_of_ours() -> None:
    assert decode(b"elsewhere", b'{"type": "robot.waved"}') == UnknownType("robot.waved", None)
    assert decode(None, b'{"type": "robot.waved"}') == UnknownType("robot.waved", None)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "empty", "no value"),
        (b"", "empty", "no value"),
        (b"x" * (VALUE_MAX_BYTES + 1), "too_large", str(VALUE_MAX_BYTES + 1)),
        (bytes(1024 * 1024), "too_large", str(1024 * 1024)),
        (bytes(1024), "not_json", "expected value"),
        (b"\xff\xfe{}", "not_json", "expected value"),
        (b'{"type": "generation.started"', "not_json", "EOF"),
        (b"[" * 100_000, "not_json", "recursion"),
        (b'{"type": "generation.\xff"}', "not_json", "unicode"),
        (b"null", "wrong_schema", "value: Input should be an object"),
        (b"[1]", "wrong_schema", "value: Input should be an object"),
        (b'"generation.started"', "wrong_schema", "value: Input should be an object"),
        (b"{}", "wrong_schema", "type"),
    ],
)
def test_bytes_that_are_no_event_have_a_reason(value: bytes | None, reason: str, detail: str) -> None:
    found = said(value)
    assert (found.reason, found.generation_id) == (reason, GENERATION)
    assert detail in found.detail


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"percent": ...}, "wrong_schema", "percent"),
        ({"percent": 101}, "wrong_schema", "percent"),
        ({"percent": "much"}, "wrong_schema", "percent"),
        ({"id": "7"}, "wrong_schema", "id"),
        ({"occurred_at": "2026-06-01T12:00:00"}, "wrong_schema", "occurred_at"),
        ({"occurred_at": ...}, "wrong_schema", "occurred_at"),
        ({"attempt": 0}, "wrong_schema", "attempt"),
        ({"producer": "nul\x00"}, "wrong_schema", "producer"),
        ({"traceparent": "00-x"}, "wrong_schema", "traceparent"),
        ({"stage": "x" * 101}, "wrong_schema", "stage"),
        ({"schema_version": 0}, "wrong_schema", "schema_version"),
        ({"schema_version": "one"}, "wrong_schema", "schema_version"),
    ],
)
def test_an_event_of_another_schema_names_the_field(changes: dict[str, object], reason: str, detail: str) -> None:
    found = said(json.dumps(document(**changes)).encode())
    assert (found.reason, found.generation_id) == (reason, GENERATION)
    assert detail in found.detail


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "missing_key"),
        (b"", "missing_key"),
        (b"\xff", "mismatched_key"),
        (str(UUID(int=1)).encode(), "mismatched_key"),
        (KEY.upper(), "mismatched_key"),
        (KEY.replace(b"-", b""), "mismatched_key"),
        (b"{" + KEY + b"}", "mismatched_key"),
        (KEY + b"\n", "mismatched_key"),
    ],
)
def test_a_key_that_is_not_the_id_holds_no_generation_up(key: bytes | None, reason: str) -> None:
    found = said(encode_value(PROGRESSED), key)
    assert (found.reason, found.generation_id) == (reason, None)


ODD_NUMBERS = ["NaN", "-Infinity", "1e999", "9" * 400, "-" + "9" * 400, "1" * 19, "-0", "1.5", "[1, [NaN, 2e888]]"]


@pytest.mark.parametrize("number", ODD_NUMBERS)
@pytest.mark.parametrize("type_", ["generation.started", "of.the.future"])
def test_what_is_kept_can_be_shown_whatever_numbers_are_in_fields_we_do_not_know(number: str, type_: str) -> None:
    """Python's json writes NaN; this system's reader of events accepts it, most readers do not."""
    value = encode_value(PROGRESSED)[:-1] + f', "type": "{type_}", "odd": {number}}}'.encode()
    event = decode(encode_key(PROGRESSED), value)
    assert not isinstance(event, Undecodable)
    assert event.type == type_
    shown = orjson.loads(orjson.dumps(as_document(value.decode())))
    assert shown["type"] == type_
    assert shown["odd"] == {
        "1.5": 1.5,
        "-0": 0,
        "1" * 19: 1111111111111111111,
        "[1, [NaN, 2e888]]": [1, [None, None]],
    }.get(number)


def test_a_value_at_the_limit_is_read() -> None:
    plain = encode_value(PROGRESSED)
    assert decode(KEY, plain + b" " * (VALUE_MAX_BYTES - len(plain))) == PROGRESSED


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=200) | st.none())
def test_no_bytes_raise(key: bytes | None, value: bytes | None) -> None:
    decode(key, value)
    decode(KEY, value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists), st.data())
def test_no_value_in_the_place_of_another_raises(value: object, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(document())))
    decode(KEY, json.dumps(document(**{name: value})).encode())


@pytest.mark.parametrize(
    ("occurred_at", "appended_ms", "believed"),
    [
        (EARLIEST, None, True),
        (EARLIEST - timedelta(microseconds=1), None, False),
        (LATEST - timedelta(microseconds=1), None, True),
        (LATEST, None, False),
        (datetime(1970, 1, 1, tzinfo=UTC), 0, False),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))), None, False),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=23))), None, False),
        (NOON, -1, True),
        (NOON, int((NOON + CLOCK_SKEW_MAX).timestamp() * 1000), True),
        (NOON, int((NOON + CLOCK_SKEW_MAX).timestamp() * 1000) + 1, False),
        (NOON, int((NOON - CLOCK_SKEW_MAX).timestamp() * 1000), True),
        (NOON, int((NOON - CLOCK_SKEW_MAX).timestamp() * 1000) - 1, False),
    ],
)
def test_which_times_are_believed(occurred_at: datetime, appended_ms: int | None, believed: bool) -> None:
    assert plausible_time(occurred_at, appended_ms) is believed
