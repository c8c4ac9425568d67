"""All routes, and the middlewares around each request."""

import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from api.context import SETTINGS, STATE, ApiState
from api.handlers import (
    cancel_delete,
    create_retry,
    documentation,
    generations,
    health,
    provider_webhooks,
    streams,
    worker_claims,
    worker_events,
    worker_jobs,
)
from api.http.bodies import RECEIVE_TIMEOUT_S
from api.http.compression import compress
from api.http.cors import ORIGINS, add_cors_headers, is_preflight, preflight_response
from api.http.parsing import CORRELATION_ID, TRACEPARENT, WAITED
from api.http.problems import Refusal, problem_response
from api.http.response_headers import add_common_headers
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.url_types import origins_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VALID_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
CLIENT_CLOSED_REQUEST: Final = 499
"""In metrics alone, as nginx has it: no response was sent to the end."""

VALID_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")

_log = structlog.get_logger(__name__)


def routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/generations", create_retry.create),
        web.get("/v1/generations", generations.page),
        web.get("/v1/generations/{id}", generations.get),
        web.delete("/v1/generations/{id}", cancel_delete.delete),
        web.post("/v1/generations/{id}/cancel", cancel_delete.cancel),
        web.post("/v1/generations/{id}/retry", create_retry.retry),
        web.get("/v1/generations/{id}/events", generations.events),
        web.get("/v1/generations/{id}/stream", streams.stream_one, allow_head=False),
        web.get("/v1/stream", streams.stream_all, allow_head=False),
        web.post("/v1/stream-tokens", streams.create_token),
        web.post("/v1/worker/events", worker_events.report),
        web.post("/v1/worker/jobs/claim", worker_claims.claim),
        web.post("/v1/worker/jobs/{id}/heartbeat", worker_jobs.heartbeat),
        web.post("/v1/worker/jobs/{id}/upload", worker_jobs.upload),
        web.post("/v1/worker/jobs/{id}/report", worker_jobs.report),
        web.post("/v1/worker/jobs/{id}/release", worker_jobs.release),
        web.post("/v1/provider-webhooks/{provider}/{token}", provider_webhooks.called),
        web.get("/livez", health.livez),
        web.get("/readyz", health.readyz),
        web.get("/metrics", health.metrics),
        web.get("/openapi.json", documentation.openapi),
        web.get("/docs", documentation.docs),
    ]


def pages() -> list[web.RouteDef]:
    """What a browser needs besides the operations of the API."""
    return [
        web.get("/", documentation.start_page),
        web.get("/docs/", documentation.docs_folder),
        web.get("/docs/assets/{release}/{name}", documentation.asset),
    ]


def make_app(state: ApiState, settings: Settings) -> web.Application:
    app = web.Application(middlewares=[_observed, _answered])
    app[STATE], app[SETTINGS], app[ORIGINS] = state, settings, origins_of(settings.cors_allowed_origins)
    app[RECEIVE_TIMEOUT_S] = settings.http_receive_timeout_s
    app.on_response_prepare.append(_add_headers)
    app.add_routes([*routes(), *pages()])
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    add_common_headers(request, response)
    add_cors_headers(request, response)


@web.middleware
async def _observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assigns the request id, and logs and measures the response."""
    started = time.perf_counter()
    asked = request.headers.get("X-Request-ID", "")
    request[CORRELATION_ID] = asked if VALID_REQUEST_ID.fullmatch(asked) else str(new_id())
    trace = request.headers.get("traceparent", "")
    if VALID_TRACEPARENT.fullmatch(trace):
        request[TRACEPARENT] = trace
    try:
        response = await handler(request)
    except BaseException:  # the client has disconnected, or a response that had begun is cut off
        _measure(request, CLIENT_CLOSED_REQUEST, time.perf_counter() - started)
        raise
    compress(request, response)
    seconds = time.perf_counter() - started
    _measure(request, response.status, seconds)
    return response


def _measure(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unmatched"
    metrics = request.app[STATE].metrics
    measured = None if request.get(WAITED) or status == CLIENT_CLOSED_REQUEST else seconds
    metrics.observe_request(method=request.method, route=route, status=status, seconds=measured)
    _log.debug("request", method=request.method, route=route, status=status, ms=round(seconds * 1000, 2))


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every refusal and every error with a problem document that reveals nothing internal."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return problem_response(refusal)
    except TransientError as error:
        _log.warning("unavailable", error=str(error), correlation_id=request[CORRELATION_ID])
        detail = "a server that the API needs is unavailable; repeat the request with the same Idempotency-Key"
        return problem_response(Refusal(503, "unavailable", detail, headers={"Retry-After": "1"}))
    except web.HTTPMethodNotAllowed as error:
        return preflight_response(error.allowed_methods) if is_preflight(request) else _http_problem(request, error)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except Exception:
        _log.exception("request_failed", path=request.path, correlation_id=request[CORRELATION_ID])
        if request.get(streams.STREAMING):  # the response has begun: it can only be cut off
            raise
        detail = f"internal error; please report request id {request[CORRELATION_ID]}"
        return problem_response(Refusal(500, "internal", detail))


def _http_problem(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        raise error
    phrase = HTTPStatus(error.status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return problem_response(
        Refusal(error.status, code, f"{request.method} {request.path[:200]}: {phrase}", headers=allow)
    )
