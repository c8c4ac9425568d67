"""The way of spans to a collector, and what a collector that is not there does to a process: nothing."""

import io
import json
import math
import ssl
import time
from pathlib import Path
from typing import Final

import pytest
import trustme
from pydantic import SecretStr

from gengui_stream.errors import ConfigurationError
from gengui_stream.logging import configure_logging
from gengui_stream.settings import Settings, load_settings
from gengui_stream.tracing import spans
from gengui_stream.tracing.export import FLUSH_S, endpoint_of, exported, resource_attributes
from gengui_stream.tracing.observing import observed
from tests.http_sink import http_sink, silent_server

SLACK_S: Final = 3.0
"""For a busy machine, besides the two seconds of a flush."""

SPANS: Final = 3_000
SPANS_OF_A_BATCH: Final = 512
"""Of OpenTelemetry's SDK, if nothing else is set."""


def configured(**changes: object) -> Settings:
    return Settings.model_validate(changes)


def trustme_bundle(path: Path) -> str:
    """The file of a CA that signed nothing."""
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def test_spans_reach_the_collector_with_the_process_and_the_key() -> None:
    with http_sink() as sink:
        settings = load_settings(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"{sink.url}/",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=s3cret%21,tenant=7",
                "OTEL_RESOURCE_ATTRIBUTES": "cloud.region=eu%20west,service.namespace=other",
                "OTEL_SERVICE_NAME": "pictures",
            },
            (),
        )
        with exported(settings, "dispatch"), spans.continued("dispatch", "client", None, begins_trace=True):
            pass
        request = sink.first()
        [span] = sink.spans()
    assert request.path == "/v1/traces"
    assert (request.headers["x-api-key"], request.headers["tenant"]) == ("s3cret!", "7")
    assert span.name == "dispatch"
    assert {
        "service.name": "pictures",
        "service.namespace": "other",
        "cloud.region": "eu west",
        "gengui.role": "dispatch",
        "telemetry.sdk.language": "python",
    }.items() <= span.resource.items()
    assert "s3cret" not in repr(settings)
    assert not spans.is_on()


def test_spans_reach_a_collector_with_a_private_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment has another one for requests."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", trustme_bundle(tmp_path / "other.pem"))
    ca, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with http_sink(tls) as sink:
        settings = configured(otel_exporter_otlp_endpoint=sink.url, otel_exporter_otlp_certificate=tmp_path / "ca.pem")
        with exported(settings, "api"), spans.continued("x", "server", None, begins_trace=True):
            pass
        assert [span.name for span in sink.spans()] == ["x"]


def test_a_silent_collector_delays_nothing_but_the_end_and_that_by_a_bound() -> None:
    """More spans than the queue holds: they are lost, and no caller waits."""
    stream = io.StringIO()
    with silent_server() as url:
        settings = configured(otel_exporter_otlp_endpoint=url, otel_exporter_otlp_headers=SecretStr("k=s3cret"))
        configure_logging(settings, "api", stream)
        with exported(settings, "api"):
            began = time.monotonic()
            for _ in range(SPANS):
                with spans.continued("x", "server", None, begins_trace=True):
                    pass
            made = time.monotonic()
        ended = time.monotonic()
    assert made - began < SLACK_S
    assert FLUSH_S * 0.9 < ended - made < FLUSH_S + SLACK_S
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert "spans_lost" in events
    assert len(events) <= 2 * math.ceil(SPANS / SPANS_OF_A_BATCH) + 1, "two a batch, and that spans are lost"
    assert "s3cret" not in stream.getvalue()


def test_the_grace_of_the_process_bounds_the_last_export() -> None:
    with silent_server() as url:
        settings = configured(otel_exporter_otlp_endpoint=url, shutdown_grace_s=0.1)
        with exported(settings, "api"):
            with spans.continued("x", "server", None, begins_trace=True):
                pass
            made = time.monotonic()
        assert time.monotonic() - made < FLUSH_S


def test_a_collector_that_refuses_connections_breaks_nothing() -> None:
    with silent_server() as url:
        pass
    with exported(configured(otel_exporter_otlp_endpoint=url), "api"):
        with spans.continued("x", "server", None, begins_trace=True):
            pass
        made = time.monotonic()
    assert time.monotonic() - made < FLUSH_S + SLACK_S


def test_without_an_address_nothing_is_exported() -> None:
    with observed(Settings(), "api"):
        assert not spans.is_on()


def test_the_address_for_traces_alone_is_taken_as_it_is() -> None:
    assert (
        endpoint_of(configured(otel_exporter_otlp_endpoint="https://c:4318/otlp/")) == "https://c:4318/otlp/v1/traces"
    )
    both = configured(otel_exporter_otlp_endpoint="https://c", otel_exporter_otlp_traces_endpoint="https://t/x")
    assert endpoint_of(both) == "https://t/x"
    assert endpoint_of(Settings()) is None


def test_each_role_is_a_service_of_its_own_unless_it_is_named() -> None:
    assert resource_attributes(Settings(), "agents")["service.name"] == "gengui-stream-agents"
    given = configured(otel_resource_attributes="service.name=a")
    assert resource_attributes(given, "agents")["service.name"] == "a"


def test_without_the_sdk_the_process_does_not_start_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = configured(otel_exporter_otlp_endpoint="http://127.0.0.1:4318")
    with pytest.raises(ConfigurationError, match=r"pip install 'gengui-stream\[observe\]'"), observed(settings, "api"):
        pass
