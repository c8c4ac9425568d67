"""Authentication and authorization of requests."""

from typing import Final

from aiohttp import web

from api.context import check_host, context_of
from api.http.problems import Refusal
from gengui_stream.accounts.api_keys import Principal, Role
from gengui_stream.accounts.stream_tokens import StreamToken, issue, principal_of_token

IN_QUERY: Final = "token"


async def principal_of(request: web.Request, *roles: Role) -> Principal:
    """Raises a 401 refusal without a valid key, a 403 refusal when the key's role is not one of `roles`, and a 400
    refusal for a Host header of which no URL can be made: all before the handler changes anything."""
    check_host(request)
    key = _key(request)
    found = await context_of(request).keys.principal(key) if key else None
    if found is None:
        raise _unauthorized()
    if roles and found.role not in roles:
        raise Refusal(
            403, "forbidden", f"a key of role {' or '.join(roles)} is required; the role of this key is {found.role}"
        )
    return found


async def reader_of(request: web.Request) -> Principal:
    """For event streams: by the token in the query, or the key. Raises the refusals of `principal_of`."""
    token = request.query.get(IN_QUERY)
    if token is None:
        return await principal_of(request)
    check_host(request)
    found = await principal_of_token(context_of(request).pool, token)
    if found is None:
        detail = "the stream token is unknown or has expired; get a new one with POST /v1/stream-tokens"
        raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    return found


async def new_stream_token(request: web.Request) -> StreamToken:
    """For the key of the request, which `principal_of` has accepted. Raises a 401 refusal if it was revoked since."""
    made = await issue(context_of(request).pool, _key(request))
    if made is None:
        raise _unauthorized()
    return made


def _key(request: web.Request) -> str:
    """The API key of the request; empty without one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.isascii() else ""


def _unauthorized() -> Refusal:
    detail = "send a valid API key as `Authorization: Bearer gg_...`"
    return Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
