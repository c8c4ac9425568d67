"""An HTTP server that keeps what it gets: a collector of OpenTelemetry, or Sentry. And one that never answers."""

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S: Final = 30.0


class Received(NamedTuple):
    """One request, its body decompressed."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class ExportedSpan(NamedTuple):
    """A span as a collector gets it; ids in hexadecimal. `resource`: of its process."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: Mapping[str, str]
    resource: Mapping[str, str]


@dataclass(slots=True)
class HttpSink:
    """`requests` in the order of their arrival. `status`: of every response."""

    port: int
    scheme: str = "http"
    status: int = 200
    requests: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def add(self, received: Received) -> None:
        with self.arrived:
            self.requests.append(received)
            self.arrived.notify_all()

    def first(self) -> Received:
        """Waits for it."""
        deadline = time.monotonic() + DEADLINE_S
        with self.arrived:
            while not self.requests:
                assert self.arrived.wait(deadline - time.monotonic()), "no request came"
            return self.requests[0]

    def spans(self) -> list[ExportedSpan]:
        """Those that have arrived by now."""
        with self.arrived:
            return [span for each in self.requests for span in spans_of(each.body)]


@contextmanager
def http_sink(tls: ssl.SSLContext | None = None) -> Iterator[HttpSink]:
    """On a free port."""
    sink = HttpSink(0, "https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sink.add(Received(self.path, dict(self.headers), body))
            self.send_response(sink.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Not to the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink.port = server.server_address[1]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        yield sink
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@contextmanager
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and requests, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def spans_of(body: bytes) -> list[ExportedSpan]:
    """Of one export."""
    made: list[ExportedSpan] = []
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {one.key: one.value.string_value for one in group.resource.attributes}
        for span in (span for scope in group.scope_spans for span in scope.spans):
            attributes = {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}
            ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
            links = tuple(link.trace_id.hex() for link in span.links)
            made.append(ExportedSpan(span.name, *ids, links, attributes, resource))
    return made
