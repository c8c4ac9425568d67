"""Problem documents for requests that aiohttp refuses before it selects a route."""

from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from api.http.problems import Refusal, problem_response

CONTINUE: Final = "100-continue"  # the one expectation that HTTP defines (RFC 9110, 10.1.1)

_log = structlog.get_logger(__name__)


class NoAccessLog(AbstractAccessLogger):
    """The application's middleware logs each request."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Never called."""


class HttpConnection(web.RequestHandler):
    """One connection. Malformed requests, which port scanners send, are logged without a traceback."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what the parser or aiohttp could not handle, and closes the connection."""
        refusal = _refusal(request, status, message)
        if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request_failed", status=refusal.status, exc_info=exc)
        else:
            _log.info("request_refused", status=refusal.status, reason=refusal.detail)
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun: it cannot become an error")
        response = problem_response(refusal)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends the response. aiohttp refuses an unknown Expect header outside the middlewares."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = problem_response(_expectation_failed())
        return await super().finish_response(request, resp, start_time)


def _refusal(request: web.BaseRequest, status: int, message: str | None) -> Refusal:
    if request.headers.get("Expect", CONTINUE).lower() != CONTINUE:
        return _expectation_failed()  # aiohttp raises an error for one that is not UTF-8
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Refusal(status, "internal", "internal error; please report the time and the request")
    return Refusal(status, "malformed_request", f"this is not a valid HTTP request: {_printable(message or '')}")


def _expectation_failed() -> Refusal:
    return Refusal(417, "expectation_failed", f"the only Expect header that is supported is {CONTINUE}")


def _printable(message: str) -> str:
    """The first 300 characters in ASCII: the message may quote bytes of the request."""
    return message.encode("ascii", "backslashreplace").decode()[:300]
