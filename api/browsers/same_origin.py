"""Protection against requests that a page of another site makes with the cookie of its visitor (CSRF), without tokens:
browsers say where a request comes from."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from yarl import URL

from api.auth import key_of
from api.browsers.cors import ANY, ORIGINS
from api.browsers.session_cookies import session_token_of
from api.context import SETTINGS
from api.http.problems import Refusal

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site`. `none`: no page made the request, but the user, in the address bar for example."""
ALWAYS_CHECKED: Final = "/v1/auth/"
"""Operations that are checked without a cookie, too: a log-in with the attacker's account is an attack."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises a 403 refusal for an unsafe method that is authenticated by the cookie, or is about to set it, and comes
    from a page of another origin. CORS_ALLOWED_ORIGINS names those that may."""
    if _is_checked(request) and not _is_trusted(request):
        detail = "pages of other origins may not do this; CORS_ALLOWED_ORIGINS names the origins that may"
        raise Refusal(403, "cross_origin", detail)
    return await handler(request)


def _is_checked(request: web.Request) -> bool:
    if request.method in SAFE_METHODS:
        return False
    by_cookie = session_token_of(request) is not None and not key_of(request)
    return by_cookie or request.path.startswith(ALWAYS_CHECKED)


def _is_trusted(request: web.Request) -> bool:
    """Without both headers: not a browser, or one from before 2020 in a request of its own origin."""
    site = ",".join(request.headers.getall("Sec-Fetch-Site", ()))
    origin = ",".join(request.headers.getall("Origin", ()))
    if site in OWN_SITES or (not site and not origin):
        return True
    return origin in request.app[ORIGINS] - {ANY} or (not site and _is_own(request, origin))


def _is_own(request: web.Request, origin: str) -> bool:
    """By PUBLIC_URL; else by the Host header, whatever the scheme, which a proxy in front may have changed."""
    public = request.app[SETTINGS].public_url
    if public:
        return origin == str(URL(public).origin())
    return origin.partition("://")[2] == request.headers.get("Host", "")
