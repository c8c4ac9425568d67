"""The cookie of a session. Scripts cannot read it, and other sites send it only when a user follows a link."""

from http.cookies import CookieError
from typing import Final

from aiohttp import web

from api.context import SETTINGS
from gengui_stream.settings import Settings
from schemas.openapi import SESSION_COOKIE

OVER_HTTP: Final = "gengui-session"
"""The name without TLS: browsers refuse `__Host-` without `Secure`, and most clients return no `Secure` cookie over
plain HTTP."""


def is_over_http(settings: Settings) -> bool:
    """In development alone, and without a PUBLIC_URL of https."""
    return settings.environment == "development" and not (settings.public_url or "").startswith("https:")


def cookie_name(settings: Settings) -> str:
    return OVER_HTTP if is_over_http(settings) else SESSION_COOKIE


def session_token_of(request: web.Request) -> str | None:
    """The token in the cookie of the session; None without one."""
    try:
        return request.cookies.get(cookie_name(request.app[SETTINGS]))
    except CookieError:
        return None


def set_session(request: web.Request, response: web.Response, token: str) -> None:
    settings = request.app[SETTINGS]
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(settings.session_ttl_s),
        path="/",
        secure=not is_over_http(settings),
        httponly=True,
        samesite="Lax",
    )


def clear_session(request: web.Request, response: web.Response) -> None:
    settings = request.app[SETTINGS]
    response.del_cookie(
        cookie_name(settings), path="/", secure=not is_over_http(settings), httponly=True, samesite="Lax"
    )
