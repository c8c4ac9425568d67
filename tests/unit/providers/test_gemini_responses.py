"""Gemini's responses in all their forms."""

import base64
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.providers.gemini.responses import (
    MODERATED,
    Images,
    ResponseOutcome,
    Retirement,
    read_error,
    read_response,
    read_retirement,
)
from gengui_stream.providers.interface import FaultDomain, Moderated, Refused

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
NAMES = st.sampled_from(
    [
        *("candidates", "content", "parts", "inlineData", "data", "thought", "finishReason", "promptFeedback"),
        *("blockReason", "modelStatus", "retirementTime", "error", "details", "reason", "retryDelay", "message"),
        "status",
    ]
)
WORDS = st.sampled_from(["SAFETY", "NO_IMAGE", "API_KEY_INVALID", "2026-10-02T00:00:00Z", "1.5s", "aGk=", "\x00"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | WORDS | st.text()
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def encoded(document: object) -> bytes:
    return orjson.dumps(document, default=str)


def image(data: object = "aGk=", **more: object) -> dict[str, object]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **more}


def answer(*parts: object, reason: object = "STOP", **more: object) -> ResponseOutcome:
    candidate = {"finishReason": reason, **({"content": {"role": "model", "parts": parts}} if parts else {})}
    return read_response(encoded({"candidates": [candidate], **more}), NOW)


def error(status: int, word: str = "", *details: object, header: str | None = None, message: str = "no") -> Refused:
    body = {"error": {"code": status, "message": message, "status": word, "details": details}}
    return read_error(status, encoded(body), header, NOW)


@given(JSON)
def test_no_json_raises(document: object) -> None:
    body = encoded(document)
    assert isinstance(read_response(body, NOW), Images | Moderated | Refused)
    retirement = read_retirement(body, "m")
    assert retirement is None or isinstance(retirement.at.timestamp(), float)


@given(JSON, st.integers(201, 599), st.none() | st.text(max_size=20))
def test_no_error_raises(document: object, status: int, header: str | None) -> None:
    refusal = read_error(status, encoded(document), header, NOW)
    assert refusal.retry_after_s is None or 0 <= refusal.retry_after_s <= 86_400


@given(st.binary(max_size=200), st.none() | st.text(max_size=40))
def test_no_bytes_raise(body: bytes, header: str | None) -> None:
    assert isinstance(read_response(body, NOW), Images | Moderated | Refused)
    assert read_retirement(body, "m") is None
    assert isinstance(read_error(503, body, header, NOW), Refused)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.booleans()), min_size=1, max_size=6))
def test_every_image_but_the_drafts_in_order(sent: list[tuple[bytes, bool]]) -> None:
    parts = [image(base64.b64encode(body).decode(), thought=draft) for body, draft in sent]
    kept = tuple(body for body, draft in sent if not draft)
    found = answer({"text": "Composing.", "thought": True}, *parts)
    assert found == Images(kept or (sent[-1][0],)), "the last draft is the image where there is no other"


@pytest.mark.parametrize(
    ("parts", "ending"),
    [
        ([{"text": "I can only draw\nsquares."}], {}),
        ([], {"finishMessage": "I can only draw squares."}),
        ([{"text": "Well ..."}], {"finishMessage": "I can only draw squares."}),
        ([{"text": "Hm.", "thought": True}, {"text": "I can only"}, {"text": "draw squares."}], {}),
    ],
)
def test_the_words_of_the_model_reach_the_user_and_are_paid_for_once(
    parts: list[object], ending: dict[str, object]
) -> None:
    candidate = {"finishReason": "IMAGE_OTHER", "content": {"parts": parts}, **ending}
    found = read_response(encoded({"candidates": [candidate]}), NOW)
    message = "Gemini returned no image: IMAGE_OTHER: I can only draw squares."
    assert found == Refused("no_image", message, retryable=False, fault_domain=FaultDomain.REQUEST)


def test_the_words_of_a_moderation_reach_the_user() -> None:
    candidate = {"finishReason": "IMAGE_SAFETY", "finishMessage": "Try another\nsubject."}
    found = read_response(encoded({"candidates": [candidate]}), NOW)
    assert found == Moderated("the image was withheld: IMAGE_SAFETY: Try another subject.")
    blocked = {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "Not this."}}
    assert read_response(encoded(blocked), NOW) == Moderated("the prompt was blocked: OTHER: Not this.")


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_an_error_in_a_200_is_that_error(status: int) -> None:
    body = encoded({"error": {"code": status, "message": "no", "status": "WORD"}})
    assert read_response(body, NOW) == read_error(status, body, None, NOW)
    listed = encoded([{"error": {"code": status, "message": "no", "status": "WORD"}}])
    assert read_response(listed, NOW) == read_error(status, listed, None, NOW)


def test_an_error_without_a_status_in_a_200_may_pass() -> None:
    found = read_response(encoded({"error": {"message": "overloaded"}}), NOW)
    assert found == Refused("provider_error", "Gemini: 500: overloaded", retryable=True)


def test_base64_may_have_line_breaks() -> None:
    body = bytes(range(256))
    assert answer(image(base64.encodebytes(body).decode())) == Images((body,))


def test_an_image_counts_whatever_the_reason_and_the_signature() -> None:
    assert answer(image(thoughtSignature="c2ln"), reason="MAX_TOKENS") == Images((b"hi",))


@pytest.mark.parametrize("reason", sorted(MODERATED))
def test_moderated(reason: str) -> None:
    assert answer(reason=reason) == Moderated(f"the image was withheld: {reason}")
    assert isinstance(answer(image(thought=True), reason=reason.lower()), Moderated)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK"])
def test_a_blocked_prompt_is_moderated(reason: str) -> None:
    body = encoded({"promptFeedback": {"blockReason": reason}})
    assert read_response(body, NOW) == Moderated(f"the prompt was blocked: {reason}")


@pytest.mark.parametrize(
    "reason", ["NO_IMAGE", "IMAGE_OTHER", "OTHER", "MAX_TOKENS", "STOP", "LANGUAGE", "NEWLY_MADE", 7, None]
)
def test_no_image_is_retryable_and_not_the_providers_fault(reason: object) -> None:
    found = answer({"text": "Composing.", "thought": True}, reason=reason)
    assert isinstance(found, Refused)
    assert (found.code, found.retryable, found.fault_domain) == ("no_image", True, FaultDomain.REQUEST)


def test_a_finish_reason_inside_the_content_is_none() -> None:
    body = encoded({"candidates": [{"content": {"finishReason": "SAFETY", "parts": []}}]})
    assert isinstance(read_response(body, NOW), Refused)


@pytest.mark.parametrize(
    "body", [b"", b"<!doctype html>", b"[]", b"null", b'{"candidates": [', b"\xff\xfe", b"[" * 5_000]
)
def test_what_is_not_its_json_is_the_providers_fault(body: bytes) -> None:
    found = read_response(body, NOW)
    assert isinstance(found, Refused)
    assert (found.code, found.retryable, found.fault_domain) == ("bad_answer", True, FaultDomain.PROVIDER)


@pytest.mark.parametrize("data", ["this is no base64!", "", "aGk", 7, None])
def test_an_image_that_cannot_be_read_is_not_passed_over(data: object) -> None:
    found = answer(image(), image(data))
    assert isinstance(found, Refused)
    assert (found.code, found.retryable, found.fault_domain) == ("bad_answer", True, FaultDomain.PROVIDER)


KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
MISCONFIGURED = ("provider_misconfigured", True, FaultDomain.CONFIGURATION)
BROKEN = ("provider_error", True, FaultDomain.PROVIDER)


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (error(400, "INVALID_ARGUMENT"), ("invalid_request", False, FaultDomain.REQUEST)),
        (error(400, "INVALID_ARGUMENT", KEY), MISCONFIGURED),
        (error(400, "FAILED_PRECONDITION"), MISCONFIGURED),
        (error(401, "UNAUTHENTICATED"), MISCONFIGURED),
        (error(402, "RESOURCE_EXHAUSTED"), MISCONFIGURED),
        (error(403, "PERMISSION_DENIED"), MISCONFIGURED),
        (error(404, "NOT_FOUND"), MISCONFIGURED),
        (error(413), ("invalid_request", False, FaultDomain.REQUEST)),
        (error(429, "RESOURCE_EXHAUSTED"), ("rate_limited", True, FaultDomain.CAPACITY)),
        (error(408), BROKEN),
        (error(499, "CANCELLED"), BROKEN),
        (error(500, "INTERNAL"), BROKEN),
        (error(502), BROKEN),
        (error(503, "UNAVAILABLE"), BROKEN),
        (error(504, "DEADLINE_EXCEEDED"), BROKEN),
        (error(302), BROKEN),
        (error(204), BROKEN),
    ],
)
def test_errors(refusal: Refused, expected: tuple[str, bool, FaultDomain]) -> None:
    assert (refusal.code, refusal.retryable, refusal.fault_domain) == expected


@pytest.mark.parametrize("body", [b"", b"<h1>503</h1>", b"[]", b"[[]]", b'{"error": "down"}'])
def test_an_error_without_words_is_known_by_its_status(body: bytes) -> None:
    assert read_error(503, body, None, NOW).message == "Gemini: 503: HTTP 503"
    assert read_error(404, body, None, NOW).fault_domain is FaultDomain.CONFIGURATION


def test_a_list_of_one_error_is_that_error() -> None:
    alone = {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [KEY]}}
    assert read_error(400, encoded([alone]), None, NOW) == read_error(400, encoded(alone), None, NOW)


def wait(delay: object) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


@pytest.mark.parametrize(
    ("header", "delay", "expected"),
    [
        (None, None, None),
        ("2", None, 2.0),
        (None, "1.5s", 1.5),
        ("2", "30s", 30.0),
        ("60", "1s", 60.0),
        ("Wed, 01 Jul 2026 12:00:20 GMT", None, 20.0),
        ("Wed, 01 Jul 2026 11:00:00 GMT", None, 0.0),
        ("Wed, 01 Jul 2026 12:00:20 -0000", None, 20.0),
        ("9" * 400, None, 86_400.0),
        ("-1", "soon", None),
        ("nan", {"seconds": 3}, None),
    ],
)
def test_how_long_to_wait(header: str | None, delay: object, expected: float | None) -> None:
    assert error(429, "RESOURCE_EXHAUSTED", wait(delay), header=header).retry_after_s == expected


def test_the_message_is_bounded() -> None:
    assert len(error(400, "W" * 5_000, message="m" * 100_000).message) < 1_000


def test_retirement() -> None:
    status = {"modelStage": "deprecated", "retirementTime": "2026-10-02T00:00:00Z"}
    expected = Retirement("m", datetime(2026, 10, 2, tzinfo=UTC), "DEPRECATED")
    assert read_retirement(encoded({"modelStatus": status}), "m") == expected
    unknown = read_retirement(encoded({"modelStatus": {"retirementTime": "2026-10-02T00:00:00"}}), "m")
    assert unknown == Retirement("m", datetime(2026, 10, 2, tzinfo=UTC), "UNKNOWN")
    for other in ("soon", 7, None):
        assert read_retirement(encoded({"modelStatus": {**status, "retirementTime": other}}), "m") is None
