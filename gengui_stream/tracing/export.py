"""Sends the spans of this process to a collector by OTLP over HTTP. OpenTelemetry's SDK is imported only by a process
that has a collector."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import structlog

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import Settings
from gengui_stream.tracing import spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
    from requests import Session

FLUSH_S: Final = 2.0
"""How long the end of a process waits for a collector, at most."""

INSTALL: Final = "pip install 'gengui-stream[observe]'"
TRACES_PATH: Final = "/v1/traces"
NAMESPACE: Final = "gengui-stream"

_log = structlog.get_logger(__name__)


@contextmanager
def exported(settings: Settings, role: str) -> Iterator[None]:
    """Exports the spans of the block. At its end waits up to FLUSH_S, and never longer than SHUTDOWN_GRACE_S: what the
    collector has not taken by then is lost. Raises ConfigurationError where the SDK is not installed."""
    try:
        exporter = _exporter(settings)
    except ImportError as error:
        raise ConfigurationError([f"OTEL_EXPORTER_OTLP_ENDPOINT: needs {error.name}: {INSTALL}"]) from error
    with recorded(settings, role, exporter):
        yield


@contextmanager
def recorded(settings: Settings, role: str, exporter: "SpanExporter") -> Iterator["TracerProvider"]:
    """The same with any exporter. One at a time in a process."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from gengui_stream.tracing.recording import OpenTelemetryRecorder

    provider = _provider(settings, role)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    spans.record_with(OpenTelemetryRecorder(provider.get_tracer("gengui_stream")))
    try:
        yield provider
    finally:
        spans.record_with(None)
        _end(provider, exporter, min(FLUSH_S, settings.shutdown_grace_s))


def _end(provider: "TracerProvider", exporter: "SpanExporter", within_s: float) -> None:
    """In a thread: its own time-out is half a minute, and a request to a silent collector cannot be interrupted."""
    ending = threading.Thread(target=provider.shutdown, name="spans-flush", daemon=True)
    ending.start()
    ending.join(within_s)
    if ending.is_alive():
        exporter.shutdown()  # ends its retries
        _log.warning("spans_lost", reason=f"the collector did not take the last spans within {within_s:g} s")


def _exporter(settings: Settings) -> "SpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url, ca_file = endpoint_of(settings), settings.otel_exporter_otlp_certificate
    if url is None or ca_file is None:
        return OTLPSpanExporter(endpoint=url, headers=headers_of(settings))
    session = _session(url)
    return OTLPSpanExporter(endpoint=url, certificate_file=str(ca_file), headers=headers_of(settings), session=session)


def _session(url: str) -> "Session":
    """With the proxies of the environment and no other CA: requests prefers one in REQUESTS_CA_BUNDLE to that of its
    session."""
    from requests import Session
    from requests.utils import get_environ_proxies

    session = Session()
    session.trust_env = False
    session.proxies.update(get_environ_proxies(url))
    return session


def headers_of(settings: Settings) -> dict[str, str]:
    """For the collector, in lower case. Raises ImportError where OpenTelemetry is not installed."""
    from opentelemetry.util.re import parse_env_headers

    secret = settings.otel_exporter_otlp_headers
    return dict(parse_env_headers(secret.get_secret_value(), liberal=True)) if secret else {}


def endpoint_of(settings: Settings) -> str | None:
    """Where traces go; None: tracing is off."""
    if settings.otel_exporter_otlp_traces_endpoint is not None:
        return settings.otel_exporter_otlp_traces_endpoint
    base = settings.otel_exporter_otlp_endpoint
    return None if base is None else base.rstrip("/") + TRACES_PATH


def _provider(settings: Settings, role: str) -> "TracerProvider":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create().merge(Resource(resource_attributes(settings, role)))
    return TracerProvider(resource=resource, sampler=_sampler(settings), shutdown_on_exit=False)


def resource_attributes(settings: Settings, role: str) -> dict[str, str]:
    """What a collector shows of this process. OTEL_RESOURCE_ATTRIBUTES overrides it, OTEL_SERVICE_NAME its name."""
    own = {
        "service.namespace": NAMESPACE,
        "service.name": f"{NAMESPACE}-{role}",
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        "deployment.environment.name": settings.environment,
        "gengui.role": role,
    }
    pairs = (pair.partition("=") for pair in (settings.otel_resource_attributes or "").split(",") if pair)
    given = {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}
    named = {"service.name": settings.otel_service_name} if settings.otel_service_name else {}
    return own | given | named


def _sampler(settings: Settings) -> "Sampler":
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased

    name = settings.otel_traces_sampler
    root: Sampler
    match name.removeprefix("parentbased_"):
        case "always_off":
            root = ALWAYS_OFF
        case "traceidratio":
            root = TraceIdRatioBased(settings.otel_traces_sampler_arg)
        case _:
            root = ALWAYS_ON
    return ParentBased(root) if name.startswith("parentbased_") else root
