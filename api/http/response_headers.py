"""Headers that every response has: what a browser may do with it, and the id of its request."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from api.http.parsing import CORRELATION_ID

SAFE: Final[Mapping[str, str]] = {
    "Server": "gengui-stream",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""`no-store`: most responses have signed URLs, or the prompts of one user. Others replace it."""
CONTENT_POLICY: Final = "Content-Security-Policy"
CLOSED: Final = "default-src 'none'; frame-ancestors 'none'"
"""A content policy for documents that a browser only shows as text."""


def add_common_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["Server"] = SAFE["Server"]  # aiohttp's has its version
    for name, value in {**SAFE, CONTENT_POLICY: CLOSED}.items():
        response.headers.setdefault(name, value)
    if CORRELATION_ID in request:
        response.headers["X-Request-ID"] = request[CORRELATION_ID]


def vary_by(response: web.StreamResponse, name: str) -> None:
    """A cache must keep the responses to different values of this request header apart."""
    names = response.headers.get("Vary")
    response.headers["Vary"] = f"{names}, {name}" if names else name
