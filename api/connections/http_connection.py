"""One connection: time limits for its requests, and problem documents for those that aiohttp refuses before it selects
a route."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Concatenate, Final, ParamSpec, TypeAlias

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger, AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import ERROR

from api.connections.open_connections import OpenConnections
from api.connections.parser_errors import HEADER_MAX_BYTES, HEADERS_MAX, LINE_MAX_BYTES, refusal_of
from api.connections.slow_readers import SlowReaderWatch
from api.http.parsing import CORRELATION_ID
from api.http.problems import Refusal, problem_bytes, problem_response
from api.http.response_headers import add_common_headers
from gengui_stream.identifiers import new_id

CONTINUE: Final = "100-continue"  # the one expectation that HTTP defines (RFC 9110, 10.1.1)

_log = structlog.get_logger(__name__)


class NoAccessLog(AbstractAccessLogger):
    """The application's middleware logs each request."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Never called."""


P = ParamSpec("P")
RequestFactory: TypeAlias = Callable[Concatenate[RawRequestMessage, P], web.BaseRequest]


class HttpConnection(web.RequestHandler):
    """Malformed requests, which port scanners send, are logged without a traceback. A connection is closed when the
    headers of a request take longer than `receive_timeout_s`, when it is idle for `keep_alive_s`, or when its client
    takes nothing of a response for `send_timeout_s`. `headers`: of responses that the application does not make."""

    __slots__ = ("_connections", "_headers", "_headers_timer", "_receive_timeout_s", "_slow_reader")

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        *,
        receive_timeout_s: float,
        send_timeout_s: float,
        keep_alive_s: float,
        headers: Mapping[str, str],
        connections: OpenConnections,
    ) -> None:
        self._receive_timeout_s, self._headers, self._connections = receive_timeout_s, headers, connections
        self._headers_timer: asyncio.TimerHandle | None = None
        self._slow_reader = SlowReaderWatch(loop, send_timeout_s)
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=keep_alive_s,
            access_log_class=NoAccessLog,
            max_line_size=LINE_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
            auto_decompress=False,  # `bodies` does it, with a limit
        )
        self._request_factory = _announced(server.request_factory, self._slow_reader.next_response)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.opened()
        self._slow_reader.transport = self.transport

    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow_reader.restart()  # it follows a time in which little was left

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._stop_timer()
        elif data and self._headers_timer is None:
            self._headers_timer = self._loop.call_later(self._receive_timeout_s, self._time_out)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._slow_reader.stop()
        self._connections.closed()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _time_out(self) -> None:
        """Answers a request whose headers are not complete."""
        if self.transport is None:
            return
        detail = f"the headers of a request must arrive within {self._receive_timeout_s:g} s"
        refusal, request_id = Refusal(408, "request_timeout", detail), str(new_id())
        _log_refusal(refusal, request_id)
        self.transport.write(problem_bytes(refusal, {**self._headers, "X-Request-ID": request_id}))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what the parser or aiohttp could not handle, and closes the connection."""
        refusal, request_id = _refusal(request, status, exc), request.get(CORRELATION_ID) or str(new_id())
        request[CORRELATION_ID] = request_id
        if refusal.status >= web.HTTPInternalServerError.status_code:
            _log.error("request_failed", status=refusal.status, correlation_id=request_id, exc_info=exc)
        else:
            _log_refusal(refusal, request_id)
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun: it cannot become an error")
        response = problem_response(refusal)
        add_common_headers(request, response, self._headers)  # the application's signal comes after a route is selected
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends the response. aiohttp refuses an unknown Expect header outside the middlewares."""
        if isinstance(resp, web.HTTPExpectationFailed):
            refusal = _expectation_failed()
            request[CORRELATION_ID] = str(new_id())
            _log_refusal(refusal, request[CORRELATION_ID])
            resp = problem_response(refusal)
        finished = await super().finish_response(request, resp, start_time)
        self._slow_reader.start()  # less than what pauses writing may be left
        return finished


def _announced(make: RequestFactory[P], begins: Callable[[AbstractStreamWriter], None]) -> RequestFactory[P]:
    """Calls `begins` with the writer of each response. aiohttp takes a request that it cannot parse for one of
    HTTP/1.0, and would answer with that version."""

    def made(message: RawRequestMessage, /, *args: P.args, **kwargs: P.kwargs) -> web.BaseRequest:
        in_http_11 = message._replace(version=HttpVersion11) if message is ERROR else message
        request = make(in_http_11, *args, **kwargs)
        begins(request.writer)
        return request

    return made


def _refusal(request: web.BaseRequest, status: int, error: BaseException | None) -> Refusal:
    if request.headers.get("Expect", CONTINUE).lower() != CONTINUE:
        return _expectation_failed()  # aiohttp raises an error for one that is not UTF-8
    if status >= web.HTTPInternalServerError.status_code:
        return Refusal(status, "internal", "internal error; please report the time and the request")
    return refusal_of(error)


def _log_refusal(refusal: Refusal, request_id: str) -> None:
    named = {"status": refusal.status, "code": refusal.code, "correlation_id": request_id}
    _log.info("request_refused", **named, reason=refusal.detail)


def _expectation_failed() -> Refusal:
    return Refusal(417, "expectation_failed", f"the only Expect header that is supported is {CONTINUE}")
