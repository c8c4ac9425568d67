"""RunPod's responses as outcomes: any form is parsed, or its outcome is unknown."""

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import TransientError
from gengui_stream.fakes.runpod.worker import traceback_json
from gengui_stream.providers.interface import Dispatched, FaultDomain, Refused
from gengui_stream.providers.routing.rate_limiter import SlidingWindow
from gengui_stream.providers.runpod.health import Diagnosis, Workers, diagnose, queued_of, workers_of
from gengui_stream.providers.runpod.responses import (
    JobState,
    Response,
    failure_message,
    failure_of_output,
    inline_image,
    report_of,
    retry_after_s,
    run_outcome,
)
from schemas.events import Failure

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
jobs = st.fixed_dictionaries(
    {},
    optional={
        "id": anything | st.just("abc-u1"),
        "status": anything | st.sampled_from([state.value for state in JobState]),
        "output": anything,
        "error": anything,
        "delayTime": anything,
    },
)


@given(st.integers(100, 599), anything | jobs)
def test_any_answer_to_run_is_a_job_a_refusal_or_nothing_known(status: int, body: object) -> None:
    try:
        outcome = run_outcome(Response(status, body), "e")
    except TransientError:
        assert status == 200 or status >= 500
        return
    match outcome:
        case Dispatched(job_id, endpoint_id):
            assert (status, endpoint_id) == (200, "e")
            assert job_id
        case Refused(code, message, retryable):
            assert status != 200
            Failure(code=code, message=message, retryable=retryable)


@pytest.mark.parametrize(
    ("status", "fault_domain", "retryable"),
    [
        (400, FaultDomain.REQUEST, False),
        (413, FaultDomain.REQUEST, False),
        (422, FaultDomain.REQUEST, False),
        (301, FaultDomain.CONFIGURATION, True),
        (401, FaultDomain.CONFIGURATION, True),
        (402, FaultDomain.CONFIGURATION, True),
        (403, FaultDomain.CONFIGURATION, True),
        (404, FaultDomain.CONFIGURATION, True),
        (408, FaultDomain.PROVIDER, True),
        (429, FaultDomain.CAPACITY, True),
        (500, FaultDomain.PROVIDER, True),
        (503, FaultDomain.PROVIDER, True),
    ],
)
def test_each_refusal_has_its_fault_domain(status: int, fault_domain: FaultDomain, retryable: bool) -> None:
    outcome = run_outcome(Response(status, {"error": "no"}, 7.0), "e")
    assert isinstance(outcome, Refused)
    assert (outcome.fault_domain, outcome.retryable) == (fault_domain, retryable)
    assert outcome.retry_after_s == (7.0 if fault_domain in {FaultDomain.CAPACITY, FaultDomain.PROVIDER} else None)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, None), (200, {}), (200, {"id": 7}), (200, {"id": "a/../b"}), (502, {"error": "x"}), (504, {}), (500, None),
     (503, None), (524, None)],
)  # fmt: skip
def test_a_gateways_response_leaves_the_outcome_unknown(status: int, body: object) -> None:
    with pytest.raises(TransientError):
        run_outcome(Response(status, body), "e")


@given(anything | jobs)
def test_any_report_has_a_state_or_none(body: object) -> None:
    try:
        report = report_of(Response(200, body))
    except TransientError:
        assert not (isinstance(body, dict) and isinstance(body.get("status"), str))
    else:
        assert report.state in JobState


def test_a_refused_request_says_why() -> None:
    outcome = run_outcome(Response(400, {"error": "input.width is not a multiple of 8"}), "e")
    assert isinstance(outcome, Refused)
    assert outcome.message == "RunPod refused the request (HTTP 400): input.width is not a multiple of 8"


@pytest.mark.parametrize(
    "output",
    [{"error": "CUDA out of memory"}, [{"error": "CUDA out of memory"}], {"error_message": "CUDA out of memory"}],
)
def test_an_error_in_the_output_of_a_completed_job_is_the_workers_word(output: object) -> None:
    assert failure_of_output(output) == "CUDA out of memory"
    nothing: object
    for nothing in (None, {}, [], {"error": None}, {"error": ""}, {"image_base64": "aGk="}, "text"):
        assert failure_of_output(nothing) is None


def test_base64_may_have_line_breaks() -> None:
    body = bytes(range(256))
    text = base64.encodebytes(body).decode()
    assert (
        inline_image({"image_base64": text})
        == inline_image([{"image_base64": f"data:image/png;base64,{text}"}])
        == body
    )


def test_undocumented_states_count_as_running() -> None:
    assert report_of(Response(200, {"status": "RUNNING"})).state is JobState.IN_PROGRESS
    assert report_of(Response(200, {"status": "WARMING_UP"})).state is JobState.UNKNOWN
    assert report_of(Response(200, {"status": "completed"})).state is JobState.UNKNOWN


def test_the_workers_error_is_shown_without_its_traceback() -> None:
    message = failure_message(
        traceback_json("torch.cuda.OutOfMemoryError", "CUDA out of memory on fake-worker-64410c2a.")
    )
    assert message == "CUDA out of memory on …."
    assert failure_message("prompt could not be encoded") == "prompt could not be encoded"
    assert failure_message('Oh\nTraceback (most recent call last):\n  File "/x.py"') == "Oh"
    assert failure_message('{"error_message": "cut off') == "the worker failed"
    assert failure_message({"error_message": "as an object"}) == "as an object"
    nothing: object
    for nothing in (None, "", 7, [], {}, "{}", '{"error_message": 7}', "[" * 100_000):
        assert failure_message(nothing)


@given(anything | st.dictionaries(st.sampled_from(["error_message", "hostname", "worker_id"]), anything))
def test_any_error_makes_a_message_that_an_event_can_hold(error: object) -> None:
    for given_error in (error, json.dumps(error)):
        message = failure_message(given_error)
        Failure(code="worker_failed", message=message)
        assert 0 < len(message) <= 500
        assert "Traceback (most" not in message


def test_an_error_that_a_handler_returns_as_an_object_is_shown() -> None:
    error = {"type": "ValidationError", "message": "no prompt", "details": "The 'prompt' field is required."}
    assert failure_message(error) == failure_of_output({"error": error}) == "no prompt"
    assert failure_message({"error": {"code": 7}}) == "the worker gave no reason"


def test_a_deeply_nested_answer_is_no_failure_of_ours() -> None:
    for deep in (json.loads("[" * 900 + "]" * 900), json.loads('{"error":' * 900 + "1" + "}" * 900)):
        assert failure_message(deep)
        assert inline_image(deep) is None
        assert failure_of_output(deep) in {None, "the worker gave no reason"}


SUBMITTED = NOW - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"delayTime": 31_618, "executionTime": 1_437}, (31.618, 33.055)),
        ({"delayTime": 2_000}, (2.0, None)),
        ({"delayTime": 0, "executionTime": 0.5}, (0.0, 0.0005)),
        ({"executionTime": 1_437}, None),
        ({"delayTime": -1, "executionTime": 1}, None),
        ({"delayTime": True}, None),
        ({"delayTime": "7"}, None),
        ({"delayTime": 10**30}, None),
        ({"delayTime": 290_000, "executionTime": 60_000}, (290.0, 300.0)),
        ({"delayTime": 600_000, "executionTime": 1}, (300.0, 300.0)),
        ({}, None),
    ],
)
def test_when_a_job_ran_follows_from_what_runpod_measured(
    times: dict[str, object], expected: tuple[float, float | None] | None
) -> None:
    found = report_of(Response(200, {"status": "COMPLETED", **times})).times(SUBMITTED, NOW)
    if expected is None:
        assert found is None
        return
    assert found is not None
    began, ended = expected
    assert found.started_at == SUBMITTED + timedelta(seconds=began)
    assert found.ended_at == (None if ended is None else SUBMITTED + timedelta(seconds=ended))


@given(st.text() | st.integers().map(str))
def test_any_retry_after_is_seconds_or_none(header: str) -> None:
    seconds = retry_after_s(header, NOW)
    assert seconds is None or 0 <= seconds <= 86_400


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s("7", NOW) == 7
    assert retry_after_s(format_datetime(NOW + timedelta(seconds=30), usegmt=True), NOW) == 30
    assert retry_after_s(format_datetime(NOW - timedelta(seconds=30), usegmt=True), NOW) == 0
    assert retry_after_s("soon", NOW) is None
    assert retry_after_s(None, NOW) is None


@given(anything | st.fixed_dictionaries({"workers": st.dictionaries(st.sampled_from(["idle", "unhealthy"]), anything)}))
def test_any_health_can_be_diagnosed(body: object) -> None:
    assert diagnose(workers_of(body)) in Diagnosis
    queued = queued_of(body)
    assert queued is None or queued >= 0


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        (Workers(), Diagnosis.UNKNOWN),
        (Workers(initializing=1), Diagnosis.COLD_START),
        (Workers(throttled=3), Diagnosis.NO_CAPACITY),
        (Workers(unhealthy=1), Diagnosis.CRASH_LOOP),
        (Workers(unhealthy=2, throttled=1), Diagnosis.CRASH_LOOP),
        (Workers(unhealthy=2, initializing=1), Diagnosis.COLD_START),
        (Workers(unhealthy=2, running=1), Diagnosis.BUSY),
        (Workers(idle=1), Diagnosis.BUSY),
        (Workers(ready=1, throttled=2), Diagnosis.BUSY),
    ],
)
def test_what_the_workers_say(workers: Workers, found: Diagnosis) -> None:
    assert diagnose(workers) is found


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 5))
def test_no_window_has_more_calls_than_are_allowed(pauses: list[float], limit: int) -> None:
    window, now, taken = SlidingWindow(limit, 10.0), 0.0, []
    for pause in pauses:
        now += pause
        at = window.reserve(now)
        assert at >= now
        taken.append(at)
    assert taken == sorted(taken)
    assert all(later - earlier >= 10.0 - 1e-9 for earlier, later in zip(taken, taken[limit:], strict=False))


def test_rare_calls_do_not_wait() -> None:
    window = SlidingWindow(2, 10.0)
    assert [window.reserve(now) for now in (0.0, 1.0, 10.5, 11.5)] == [0.0, 1.0, 10.5, 11.5]


@pytest.mark.parametrize(("queue", "found"), [(0, 0), (12, 12), (-1, None), (True, None), ("12", None), (None, None)])
def test_the_length_of_the_queue_is_what_health_reports(queue: object, found: int | None) -> None:
    assert queued_of({"jobs": {"inQueue": queue}}) == found
    assert queued_of({"jobs": queue}) is None
