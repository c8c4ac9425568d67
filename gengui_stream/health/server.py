"""`/livez`, `/readyz` and `/metrics` on a port of their own: of the roles without an HTTP server, and of the API if it
is to have one. Served by a thread, so that a blocked event loop is reported."""

import errno
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Final, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from gengui_stream.errors import ConfigurationError
from gengui_stream.health.liveness import Health
from gengui_stream.roles import Role
from gengui_stream.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1
"""The longest duration of a stop."""

JSON: Final = [("Content-Type", "application/json")]

Answer: TypeAlias = tuple[str, Mapping[str, object]]
"""A status and a body."""

_log = structlog.get_logger(__name__)


@contextmanager
def served_health(settings: Settings, role: Role, health: Health, registry: CollectorRegistry) -> Iterator[int]:
    """Serves until the context ends, and yields the port: METRICS_PORT, for the API API_METRICS_PORT; else the role's
    default port, or any free one if that is in use. Raises ConfigurationError when a configured one is in use."""
    server = _listening(settings, role)
    server.set_app(_application(health, registry))
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="health", daemon=True)
    thread.start()
    _log.info("health_served", role=role.name, host=_host(settings), port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def has_own_port(settings: Settings, role: Role) -> bool:
    return role.metrics_port is not None or settings.api_metrics_port is not None


def _host(settings: Settings) -> str:
    return settings.metrics_host or settings.host


def _listening(settings: Settings, role: Role) -> "_Server":
    host, of_api = _host(settings), role.metrics_port is None
    name, port = ("API_METRICS_PORT", settings.api_metrics_port) if of_api else ("METRICS_PORT", settings.metrics_port)
    if port is not None:
        return _configured(host, name, port)
    wanted = role.metrics_port or 0
    try:
        return _Server(host, wanted)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fault = f"{'METRICS_HOST' if settings.metrics_host else 'HOST'}: cannot listen on {host}: {error.strerror}"
            raise ConfigurationError([fault]) from error
    server = _configured(host, name, 0)
    _log.warning("default_metrics_port_taken", role=role.name, wanted=wanted, port=server.server_port)
    return server


def _configured(host: str, name: str, port: int) -> "_Server":
    """`name`: of the setting."""
    try:
        return _Server(host, port)
    except OSError as error:
        fault = (
            f"{name}: cannot listen on {host}:{port}: {error.strerror}; choose another port for each process, "
            f"or leave {name} unset"
        )
        raise ConfigurationError([fault]) from error


class _Handler(WSGIRequestHandler):
    """A client that sends nothing occupies its thread for at most REQUEST_TIMEOUT_S."""

    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged."""


class _Server(ThreadingMixIn, WSGIServer):
    """Raises OSError when it cannot listen on the address."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        super().__init__((str(address[0]), port), _Handler)

    def server_bind(self) -> None:
        """Overrides the base class, which resolves the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that disconnects is not an error."""
        error = sys.exception()
        if not isinstance(error, OSError):
            _log.error("health_request_failed", exc_info=error)


def _application(health: Health, registry: CollectorRegistry) -> "WSGIApplication":
    metrics: WSGIApplication = make_wsgi_app(registry)
    documents: Mapping[str, Callable[[], Answer]] = {
        "/livez": lambda: _livez(health),
        "/readyz": lambda: _readyz(health),
    }

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        if path == "/metrics":
            return metrics(environ, start_response)
        reading = environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        answer = documents.get(path, _not_found) if reading else _not_allowed
        return _answered(environ, start_response, *answer())

    return application


def _answered(
    environ: "WSGIEnvironment", start_response: "StartResponse", status: str, document: Mapping[str, object]
) -> Iterable[bytes]:
    body = json.dumps(document).encode()
    start_response(status, [*JSON, ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _livez(health: Health) -> Answer:
    liveness = health.liveness()
    return "200 OK" if liveness.live else "503 Service Unavailable", liveness.document()


def _readyz(health: Health) -> Answer:
    """Whether every server that the role needs was available at its start, its work gets done, and no operation waits
    for a server."""
    liveness = health.liveness()
    return "200 OK" if liveness.ready else "503 Service Unavailable", liveness.readiness_document()


def _not_allowed() -> Answer:
    return "405 Method Not Allowed", {"status": "method_not_allowed"}


def _not_found() -> Answer:
    return "404 Not Found", {"status": "not_found", "paths": ["/livez", "/readyz", "/metrics"]}
