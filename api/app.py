"""The application: its routes, and the middlewares around each request."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from api.browsers.cors import ORIGINS, add_cors_headers, is_preflight, preflight_response
from api.browsers.same_origin import same_origin
from api.context import SETTINGS, STATE, ApiState
from api.handlers import streams
from api.http.bodies import RECEIVE_TIMEOUT_S
from api.http.client_address import PROXIES
from api.http.compression import compress
from api.http.parsing import CORRELATION_ID, WAITED
from api.http.problems import Refusal, problem_response
from api.http.response_headers import add_common_headers, common_headers
from api.limits.requests import add_rate_limit_headers, limited_by_address
from api.routes import pages, routes
from gengui_stream.accounts.passwords import PasswordsBusyError
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.url_types import origins_of
from gengui_stream.tracing.spans import NO_SPAN, Span, continued, valid_traceparent
from schemas.openapi import METRICS_PATH

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLIENT_CLOSED_REQUEST: Final = 499
"""In metrics alone, as nginx has it: no response was sent to the end."""

VALID_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")

WITHOUT_SPAN: Final = frozenset(
    {"/livez", "/readyz", METRICS_PATH, "/v1/stream", "/v1/generations/{id}/stream", "/v1/worker/jobs/claim"}
)
"""Routes of probes, and of requests that wait for what concerns another trace."""

UNMATCHED: Final = "unmatched"

COMMON_HEADERS: Final = web.AppKey("common_headers", Mapping[str, str])

_log = structlog.get_logger(__name__)


def make_app(state: ApiState, settings: Settings) -> web.Application:
    app = web.Application(middlewares=[_observed, _answered, same_origin, limited_by_address])
    app[STATE], app[SETTINGS], app[ORIGINS] = state, settings, origins_of(settings.cors_allowed_origins)
    app[PROXIES] = settings.proxies_trusted
    app[COMMON_HEADERS] = common_headers(settings.public_url)
    app[RECEIVE_TIMEOUT_S] = settings.http_receive_timeout_s
    app.on_response_prepare.append(_add_headers)
    absent = not_served(settings)
    app.add_routes([route for route in (*routes(), *pages()) if route.path not in absent])
    return app


def not_served(settings: Settings) -> frozenset[str]:
    """Paths that the settings turn off."""
    metrics = {METRICS_PATH} if settings.api_metrics_port is not None else set()
    documents = {"/openapi.json", *(page.path for page in pages())} if settings.api_docs == "off" else set()
    return frozenset(metrics | documents | ({"/docs"} if documents else set()))


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    add_common_headers(request, response, request.app[COMMON_HEADERS])
    add_cors_headers(request, response)
    add_rate_limit_headers(request, response)


@web.middleware
async def _observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assigns the request id, and logs, measures and traces the response."""
    started = time.perf_counter()
    asked = request.headers.get("X-Request-ID", "")
    request[CORRELATION_ID] = asked if VALID_REQUEST_ID.fullmatch(asked) else str(new_id())
    with _span(request) as span:
        try:
            response = await handler(request)
        except BaseException:  # the client has disconnected, or a response that had begun is cut off
            _measure(request, CLIENT_CLOSED_REQUEST, time.perf_counter() - started)
            raise
        compress(request, response)
        if request.app[STATE].ending:
            response.force_close()
        seconds = time.perf_counter() - started
        _measure(request, response.status, seconds)
        span.set({"http.response.status_code": response.status})
        if response.status >= 500:
            span.fail(str(response.status))
        return response


def _span(request: web.Request) -> AbstractContextManager[Span]:
    """Goes on with the trace of a client that has one, else begins one."""
    route = _route(request)
    if route in WITHOUT_SPAN:
        return NO_SPAN
    traceparent = valid_traceparent(request.headers.get("traceparent"))
    attributes = {
        "http.request.method": request.method,
        "http.route": route,
        "gengui.correlation_id": request[CORRELATION_ID],
    }
    name = f"{request.method} {route}" if route != UNMATCHED else UNMATCHED
    return continued(name, "server", traceparent, attributes, begins_trace=True)


def _measure(request: web.Request, status: int, seconds: float) -> None:
    metrics, route = request.app[STATE].metrics, _route(request)
    measured = None if request.get(WAITED) or status == CLIENT_CLOSED_REQUEST else seconds
    metrics.observe_request(method=request.method, route=route, status=status, seconds=measured)
    _log.debug("request", **_named(request), status=status, ms=round(seconds * 1000, 2))


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else UNMATCHED


def _named(request: web.Request) -> Mapping[str, str]:
    """What the log has of a request. Not its path, which may have a token."""
    return {"method": request.method, "route": _route(request), "correlation_id": request[CORRELATION_ID]}


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every refusal and every error with a problem document that reveals nothing internal."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _refused(request, refusal)
    except PasswordsBusyError:
        detail = "too many passwords are being checked; try again shortly"
        return _refused(request, Refusal(503, "busy", detail, headers={"Retry-After": "2"}))
    except TransientError as error:
        _log.warning("unavailable", error=str(error), **_named(request))
        detail = "a server that the API needs is unavailable; repeat the request with the same Idempotency-Key"
        return problem_response(Refusal(503, "unavailable", detail, headers={"Retry-After": "1"}))
    except web.HTTPMethodNotAllowed as error:
        return preflight_response(error.allowed_methods) if is_preflight(request) else _http_problem(request, error)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except Exception:
        _log.exception("request_failed", **_named(request))
        if request.get(streams.STREAMING):  # the response has begun: it can only be cut off
            raise
        detail = f"internal error; please report request id {request[CORRELATION_ID]}"
        return problem_response(Refusal(500, "internal", detail))


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    """The line of the log is found by the request id that a client quotes."""
    _log.info("request_refused", **_named(request), status=refusal.status, code=refusal.code)
    return problem_response(refusal)


def _http_problem(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        raise error
    phrase = HTTPStatus(error.status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    detail = f"{request.method} {request.path[:200]}: {phrase}"
    return _refused(request, Refusal(error.status, code, detail, headers=allow))
