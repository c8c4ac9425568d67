"""Access from pages of other origins (CORS), for the origins in CORS_ALLOWED_ORIGINS. Those that it names may send the
cookie of a session; with `*` none may."""

from collections.abc import Set as AbstractSet
from typing import Final

from aiohttp import web

from api.http.response_headers import vary_by

ORIGINS: Final = web.AppKey("origins", frozenset[str])
ANY: Final = "*"
REQUEST_HEADERS: Final = (
    "Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Min-Position, "
    "Prefer, traceparent, tracestate, X-Request-ID"
)
EXPOSED_HEADERS: Final = (
    "ETag, Gengui-Position, Idempotent-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, WWW-Authenticate, X-Request-ID"
)
PREFLIGHT_VALID_S: Final = 7_200


def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    origins = request.app[ORIGINS]
    if not origins:
        return
    allowed = _allowed(origins, request.headers.get("Origin"))
    if ANY not in origins:
        vary_by(response, "Origin")
    if allowed is not None:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    if allowed is not None and allowed != ANY:
        response.headers["Access-Control-Allow-Credentials"] = "true"


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks, for a page of an allowed origin, which methods and headers it may send."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return asks and _allowed(request.app[ORIGINS], request.headers.get("Origin")) is not None


def preflight_response(methods: AbstractSet[str]) -> web.Response:
    headers = {
        "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_VALID_S),
    }
    return web.Response(status=204, headers=headers)


def _allowed(origins: frozenset[str], origin: str | None) -> str | None:
    """The value of `Access-Control-Allow-Origin`."""
    if origin is None or not origins & {origin, ANY}:
        return None
    return ANY if ANY in origins else origin
