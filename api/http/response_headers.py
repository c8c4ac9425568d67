"""Headers that every response has: what a browser may do with it, and the id of its request."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from api.http.parsing import CORRELATION_ID

SAFE: Final[Mapping[str, str]] = {
    "Server": "gengui-stream",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""`no-store`: most responses have signed URLs, or the prompts of one user. Others replace it. `Referrer-Policy`: links
have tokens. `Cross-Origin-Resource-Policy` concerns no request with CORS."""
OVER_TLS: Final[Mapping[str, str]] = {"Strict-Transport-Security": "max-age=31536000"}
"""Where PUBLIC_URL is https."""
CONTENT_POLICY: Final = "Content-Security-Policy"
CLOSED: Final = "default-src 'none'; frame-ancestors 'none'"
"""A content policy for documents that a browser only shows as text."""


def common_headers(public_url: str | None) -> Mapping[str, str]:
    """Of an API that clients reach at this URL."""
    over_tls = OVER_TLS if (public_url or "").lower().startswith("https:") else {}
    return {**SAFE, **over_tls, CONTENT_POLICY: CLOSED}


def add_common_headers(request: web.BaseRequest, response: web.StreamResponse, headers: Mapping[str, str]) -> None:
    response.headers["Server"] = SAFE["Server"]  # aiohttp's has its version
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    if CORRELATION_ID in request:
        response.headers["X-Request-ID"] = request[CORRELATION_ID]


def vary_by(response: web.StreamResponse, name: str) -> None:
    """A cache must keep the responses to different values of this request header apart."""
    names = response.headers.get("Vary")
    response.headers["Vary"] = f"{names}, {name}" if names else name
