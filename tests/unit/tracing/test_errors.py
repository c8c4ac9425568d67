"""Errors in Sentry: what failed and where, with the ids, and without any text that may be a prompt or a secret."""

import json
import logging
import time
from collections.abc import Iterator, Mapping

import pytest
import structlog
from pydantic import SecretStr

from gengui_stream.errors import ConfigurationError
from gengui_stream.logging import configure_logging
from gengui_stream.settings import Settings, load_settings
from gengui_stream.tracing import spans
from gengui_stream.tracing.errors import without_texts
from gengui_stream.tracing.export import FLUSH_S
from gengui_stream.tracing.observing import observed
from tests.http_sink import HttpSink, http_sink, silent_server

PROMPT = "a lighthouse in a storm"
KEY = "gg_1a2b3c4d_" + "S" * 43
PASSWORD = "hunter2"
TOKEN = "s3cret"
SECRETS = (PROMPT, KEY, PASSWORD, TOKEN)


@pytest.fixture
def sentry() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


def dsn(url: str) -> str:
    return url.replace("http://", "http://0123456789abcdef@") + "/42"


def configured(sink: HttpSink, **changes: str) -> Settings:
    return load_settings({"SENTRY_DSN": dsn(sink.url), **changes}, ())


def event_in(sink: HttpSink) -> dict[str, object]:
    """The first event: the last line of its envelope."""
    received = sink.first()
    assert received.path == "/api/42/envelope/"
    found: dict[str, object] = json.loads(received.body.splitlines()[2])
    return found


def fail(prompt: str, password: str) -> None:
    raise ValueError(f"invalid input for query argument $3: {prompt!r} postgresql://u:{password}@h/d {KEY}")


def test_an_error_is_reported_with_its_place_and_ids_and_no_text(sentry: HttpSink) -> None:
    with observed(configured(sentry, ENVIRONMENT="production"), "dispatch"):
        try:
            fail(PROMPT, PASSWORD)
        except ValueError:
            structlog.get_logger("gengui_stream.x").exception(
                "request_failed", route="/v1/generations", correlation_id="c-1", error=PROMPT, token=TOKEN
            )
    event = event_in(sentry)
    assert event["level"] == "error"
    assert event["logentry"] == {"message": "request_failed"}
    assert event["environment"] == "production"
    assert str(event["release"]).startswith("gengui-stream@")
    assert event["tags"] == {"role": "dispatch", "route": "/v1/generations"}
    assert isinstance(event["extra"], Mapping)
    assert event["extra"]["correlation_id"] == "c-1"
    text = sentry.first().body.decode()
    assert "ValueError" in text
    assert '"function":"fail"' in text.replace(" ", "")
    assert [secret for secret in SECRETS if secret in text] == []


def test_an_event_has_its_trace(sentry: HttpSink) -> None:
    settings = configured(sentry, OTEL_EXPORTER_OTLP_ENDPOINT=sentry.url)
    with observed(settings, "api"), spans.continued("x", "server", None, begins_trace=True):
        structlog.get_logger().error("image_not_stored", generation_id="g-1")
        ids = spans.current_ids()
    [event] = [json.loads(one.body.splitlines()[2]) for one in sentry.requests if one.path.startswith("/api/")]
    assert ids is not None
    assert event["contexts"]["trace"] == {"trace_id": ids.trace_id, "span_id": ids.span_id}
    assert event["extra"]["generation_id"] == "g-1"


@pytest.mark.parametrize(("text", "values"), [("lost %s", (PROMPT,)), (f"lost {PROMPT}", ())])
def test_a_librarys_error_has_its_place_and_not_its_text(sentry: HttpSink, text: str, values: tuple[str, ...]) -> None:
    with observed(configured(sentry), "agents"):
        logging.getLogger("aiokafka").error(text, *values)
    place = "aiokafka.test_a_librarys_error_has_its_place_and_not_its_text"
    assert event_in(sentry)["logentry"] == {"message": place}
    assert PROMPT not in sentry.first().body.decode()


def test_warnings_and_information_are_not_reported(sentry: HttpSink) -> None:
    with observed(configured(sentry), "api"):
        structlog.get_logger().warning("slow")
        structlog.get_logger().info("started")
    assert sentry.requests == []


def test_every_other_text_is_redacted_as_in_the_log() -> None:
    event = without_texts(
        {
            "extra": {"url": f"postgresql://u:{PASSWORD}@h/d {KEY}", "n": 1},
            "exception": {"values": [{"value": PROMPT}]},
        },
        {},
    )
    assert event["extra"]["n"] == 1
    assert [secret for secret in SECRETS if secret in repr(event)] == []


def test_a_sentry_that_never_answers_delays_the_end_by_a_bound() -> None:
    with silent_server() as url:
        settings = load_settings({"SENTRY_DSN": dsn(url)}, ())
        configure_logging(settings, "api")
        with observed(settings, "api"):
            began = time.monotonic()
            structlog.get_logger().error("crashed")
            logged = time.monotonic()
        ended = time.monotonic()
    assert logged - began < FLUSH_S
    assert ended - logged < FLUSH_S + 3.0


@pytest.mark.parametrize("text", ["x", "https://sentry.io/1", "https://key@sentry.io/", "ftp://k@h/1"])
def test_what_is_no_dsn_is_refused_by_name_without_its_value(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"SENTRY_DSN": text}, ())
    assert caught.value.faults == ["SENTRY_DSN: must be a DSN as Sentry shows it: https://key@host/number"]


def test_without_its_sdk_the_process_does_not_start_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentry_sdk", None)
    settings = Settings(sentry_dsn=SecretStr(dsn("http://127.0.0.1:9")))
    with pytest.raises(ConfigurationError, match=r"pip install 'gengui-stream\[observe\]'"), observed(settings, "api"):
        pass
