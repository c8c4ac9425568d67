"""Authentication and authorization of requests."""

from aiohttp import web

from api.context import check_host, context_of
from api.http.problems import Refusal
from gengui_stream.accounts.api_keys import Principal, Role


async def principal_of(request: web.Request, *roles: Role) -> Principal:
    """Raises a 401 refusal without a valid key, a 403 refusal when the key's role is not one of `roles`, and a 400
    refusal for a Host header of which no URL can be made: all before the handler changes anything."""
    check_host(request)
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    keys = context_of(request).keys
    found = await keys.principal(key.strip()) if scheme.lower() == "bearer" and key.isascii() else None
    if found is None:
        detail = "send a valid API key as `Authorization: Bearer gg_...`"
        raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    if roles and found.role not in roles:
        raise Refusal(
            403, "forbidden", f"a key of role {' or '.join(roles)} is required; the role of this key is {found.role}"
        )
    return found
