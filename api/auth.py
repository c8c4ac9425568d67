"""Authentication and authorization of requests."""

from typing import Final
from uuid import UUID

from aiohttp import web

from api.browsers.session_cookies import session_token_of
from api.context import check_host, context_of
from api.http.parsing import header_of
from api.http.problems import Refusal
from api.limits.requests import count_of_user, count_unauthenticated
from gengui_stream.accounts import sessions
from gengui_stream.accounts.keys.stream_tokens import StreamToken, issue, principal_of_token
from gengui_stream.accounts.principals import Principal
from schemas.operations.operation import Scope

IN_QUERY: Final = "token"

CHALLENGE: Final = 'Bearer realm="gengui-stream"'
INVALID: Final = f'{CHALLENGE}, error="invalid_token"'
"""For requests that have a key or a token (RFC 6750, section 3)."""


async def principal_of(request: web.Request, scope: Scope) -> Principal:
    """By the API key, else by the cookie of a session; with both, the key counts. Raises a 401 refusal without a valid
    one, a 403 refusal without the scope, and a 400 refusal for a Host header of which no URL can be made: all before
    the handler changes anything."""
    check_host(request)
    found = await authenticated(request)
    await count_of_user(request, found, scope)
    require(found, scope)
    return found


async def generator_of(request: web.Request) -> Principal:
    """For requests that make a generation. Raises the refusals of `principal_of`, and a 403 refusal while the e-mail
    address is not verified."""
    found = await principal_of(request, "generations:write")
    require_verified(found)
    return found


def require_verified(principal: Principal) -> None:
    """Raises a 403 refusal while the e-mail address is not verified."""
    if not principal.may_generate:
        detail = "follow the link in the e-mail first; POST /v1/auth/resend-verification sends another one"
        raise Refusal(403, "email_not_verified", detail)


async def session_of(request: web.Request) -> tuple[Principal, UUID]:
    """The user, and the id of the session. For operations on the account itself: raises a 403 refusal for API keys, and
    a 401 refusal without a session."""
    check_host(request)
    found = await authenticated(request)
    await count_of_user(request, found)
    if found.session_id is None:
        detail = "an API key does not do here: log in with POST /v1/auth/login, and send the cookie without a key"
        raise Refusal(403, "session_required", detail)
    return found, found.session_id


async def authenticated(request: web.Request) -> Principal:
    """By the API key, else by the cookie of a session, whatever the scope. Raises a 401 refusal without a valid one."""
    key, token = key_of(request), session_token_of(request)
    found: Principal | None = None
    if key:
        found = await context_of(request).keys.principal(key)
    elif token:
        found = await sessions.authenticate(context_of(request).pool, token)
    if found is None:
        await count_unauthenticated(request)
        raise _unauthorized(key)
    return found


def require(principal: Principal, scope: Scope) -> None:
    """Raises a 403 refusal for a key, or a user, without the scope."""
    if not principal.allows(scope):
        scopes = ", ".join(sorted(principal.scopes)) or "no scope"
        raise Refusal(403, "forbidden", f"a key with the scope {scope} is required; this one has {scopes}")


async def reader_of(request: web.Request) -> Principal:
    """For event streams: by the token in the query, or the key. Raises the refusals of `principal_of`."""
    token = request.query.get(IN_QUERY)
    if token is None:
        return await principal_of(request, "generations:read")
    check_host(request)
    found = await principal_of_token(context_of(request).pool, token)
    if found is None:
        await count_unauthenticated(request)
        detail = "the stream token is unknown or has expired; get a new one with POST /v1/stream-tokens"
        raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": INVALID})
    await count_of_user(request, found, "generations:read")
    require(found, "generations:read")
    return found


async def new_stream_token(request: web.Request) -> StreamToken:
    """For the key of the request, which `principal_of` has accepted. Raises a 401 refusal if it was revoked since, and
    a 403 refusal without a key: browsers send the cookie of a session by themselves."""
    key = key_of(request)
    if not key:
        raise Refusal(403, "forbidden", "a session needs no token: the browser sends its cookie to event streams")
    made = await issue(context_of(request).pool, key)
    if made is None:
        raise _unauthorized(key)
    return made


def key_of(request: web.Request) -> str:
    """The API key of the request; empty without one."""
    scheme, _, key = (header_of(request, "Authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.isascii() else ""


def _unauthorized(key: str) -> Refusal:
    detail = "send a valid API key as `Authorization: Bearer gg_live_...`, or log in"
    return Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": INVALID if key else CHALLENGE})
