"""Spans: which parent they have, what they link to, and what they never record. Without tracing there are none."""

import asyncio
import io
import json
from typing import Final

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from gengui_stream.logging import configure_logging
from gengui_stream.settings import Settings
from gengui_stream.stamps import new_stamp
from gengui_stream.tracing import spans
from gengui_stream.tracing.log_fields import add_trace_ids
from gengui_stream.tracing.recording import LINKS_MAX
from tests.unit.tracing.conftest import Finished

CLIENTS: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traceparent(number: int, *, sampled: bool = True) -> str:
    return f"00-{number:032x}-{number:016x}-0{int(sampled)}"


def trace_ids(found: list[ReadableSpan]) -> list[int]:
    return [span.context.trace_id for span in found if span.context]


def test_without_tracing_a_span_is_one_object_that_does_nothing() -> None:
    assert spans.span("fold", parents=[CLIENTS]) is spans.span("append") is spans.NO_SPAN
    with spans.span("fold") as span:
        span.set({"applied": 1})
        span.fail("X")
        assert spans.current_ids() is None


def test_without_tracing_a_trace_context_is_passed_on_as_it_came() -> None:
    with spans.continued("POST /v1/generations", "server", CLIENTS):
        assert new_stamp("api").traceparent == CLIENTS
        with spans.continued("work", "consumer", traceparent(7)):
            assert spans.current_traceparent() == traceparent(7)
        assert spans.current_traceparent() == CLIENTS
    assert spans.current_traceparent() is None


def test_a_span_within_another_is_its_child_and_events_carry_the_current_one(finished: Finished) -> None:
    with spans.continued("POST /v1/generations", "server", CLIENTS, {"http.route": "/v1/generations"}):
        stamped = new_stamp("api").traceparent
        with spans.span("append", "producer"):
            pass
    append, post = finished()
    assert append.parent is not None
    assert post.context is not None
    assert stamped == f"00-{format_trace_id(post.context.trace_id)}-{format_span_id(post.context.span_id)}-01"
    assert append.parent.span_id == post.context.span_id
    assert post.parent is not None
    assert format_span_id(post.parent.span_id) == CLIENTS.split("-")[2]
    assert dict(post.attributes or {}) == {"http.route": "/v1/generations"}


def test_only_what_may_begin_a_trace_begins_one(finished: Finished) -> None:
    with spans.span("append"), spans.continued("work", "consumer", None):
        assert spans.current_traceparent() is None
    with spans.continued("GET /v1/generations", "server", None, begins_trace=True):
        pass
    assert [span.name for span in finished()] == ["GET /v1/generations"]


def test_a_batch_goes_on_with_its_first_sampled_trace_and_links_each_other_one_once(finished: Finished) -> None:
    unsampled, damaged = traceparent(1, sampled=False), "00-" + "0" * 32 + "-b7ad6b7169203331-01"
    later = [traceparent(number).replace("-01", "-03") for number in (3, 2)]
    parents = [None, unsampled, damaged, traceparent(2), traceparent(3), *later, traceparent(2)]
    with spans.span("fold", "consumer", parents=parents, began_ns=1_000):
        pass
    [fold] = finished()
    assert trace_ids([fold]) == [2]
    assert [link.context.trace_id for link in fold.links] == [3]
    assert fold.start_time == 1_000


def test_a_batch_links_to_a_bounded_number_of_traces(finished: Finished) -> None:
    with spans.span("fold", parents=map(traceparent, range(1, 1_000))):
        pass
    assert len(finished()[0].links) == LINKS_MAX


def test_a_batch_without_a_sampled_trace_is_not_recorded(finished: Finished) -> None:
    with spans.span("fold", parents=[traceparent(1, sampled=False)]):
        assert str(spans.current_traceparent()).endswith("-00")
    assert finished() == []


def test_a_failure_is_recorded_without_its_message(finished: Finished) -> None:
    with pytest.raises(ValueError, match="lighthouse"), spans.continued("x", "server", CLIENTS):
        raise ValueError("the prompt: a lighthouse")
    [span] = finished()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert "lighthouse" not in span.to_json()


def test_a_cancellation_is_no_failure(finished: Finished) -> None:
    with pytest.raises(asyncio.CancelledError), spans.continued("x", "server", CLIENTS):
        raise asyncio.CancelledError
    [span] = finished()
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {"gengui.canceled": True}


@pytest.mark.parametrize(
    ("finished", "begun", "continues"),
    [
        ({"otel_traces_sampler": "always_off"}, 0, 0),
        ({"otel_traces_sampler": "parentbased_always_off"}, 0, 1),
        ({"otel_traces_sampler": "traceidratio", "otel_traces_sampler_arg": 0.0}, 0, 0),
        ({"otel_traces_sampler": "parentbased_traceidratio", "otel_traces_sampler_arg": 0.0}, 0, 1),
        ({"otel_traces_sampler": "always_on"}, 1, 1),
    ],
    indirect=["finished"],
)
def test_the_sampler_decides_and_a_parent_based_one_asks_the_client_first(
    finished: Finished, begun: int, continues: int
) -> None:
    with spans.continued("begun", "server", None, begins_trace=True):
        pass
    with spans.continued("continued", "server", CLIENTS, begins_trace=True):
        pass
    names = [span.name for span in finished()]
    assert (names.count("begun"), names.count("continued")) == (begun, continues)


def test_lines_of_the_log_have_the_ids_of_their_span(finished: Finished) -> None:
    stream = io.StringIO()
    configure_logging(Settings(), "api", stream, more=[add_trace_ids])
    structlog.get_logger().info("outside")
    with spans.continued("x", "server", CLIENTS):
        structlog.get_logger().info("inside")
        ids = spans.current_ids()
    outside, inside = map(json.loads, stream.getvalue().splitlines())
    assert "trace_id" not in outside
    assert (inside["trace_id"], inside["span_id"]) == ids
    assert inside["trace_id"] == CLIENTS.split("-")[1]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-x",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        CLIENTS.upper(),
        CLIENTS + "\n",
    ],
)
def test_a_damaged_trace_context_is_none(text: str | None) -> None:
    assert spans.valid_traceparent(text) is None
    assert spans.valid_traceparent(CLIENTS) == CLIENTS
