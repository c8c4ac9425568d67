"""The API keys of the caller: created, listed, revoked. With a session alone: a key must not make another one."""

import re
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from api.auth import require_verified, session_of
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of
from api.http.parsing import Query
from api.http.problems import Refusal, fault, invalid
from api.http.responses import json_response
from gengui_stream.accounts.keys.api_keys import (
    ApiKey,
    KeyChoice,
    ScopesNotAllowedError,
    TooManyKeysError,
    create_key_of,
    list_keys_of,
    revoke_key,
)
from gengui_stream.errors import PermanentError
from schemas.accounts import CreateKey, KeyList, KeyResource, NewKeyResource

KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


async def page(request: web.Request) -> web.Response:
    principal, _ = await session_of(request)
    Query(request).check()
    found = await list_keys_of(context_of(request).pool, principal.user_id)
    return json_response(KeyList(data=[_resource(key) for key in found]).model_dump(mode="json"))


async def create(request: web.Request) -> web.Response:
    """Only for a verified address: a key outlives the password of an account that was made with the address of another
    person, who takes it over by a reset."""
    principal, _ = await session_of(request)
    require_verified(principal)
    body, context = await read_model(request, CreateKey), context_of(request)
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise invalid([fault("expires_at", "must be in the future")])
    choice = KeyChoice(body.name, frozenset(body.scopes) if body.scopes else None, body.expires_at)
    try:
        made = await create_key_of(context.pool, principal.user_id, choice, actor_of(request, principal.user_id))
    except ScopesNotAllowedError as error:
        raise invalid([fault("scopes", str(error))]) from None
    except TooManyKeysError as error:
        raise Refusal(409, "too_many_keys", str(error)) from None
    shown = NewKeyResource(**_resource(made.key).model_dump(), key=made.text)
    return json_response(shown.model_dump(mode="json"), 201)


async def revoke(request: web.Request) -> web.Response:
    """Raises a 404 refusal for a key of another user, too."""
    principal, _ = await session_of(request)
    Query(request).check()
    context, key_id = context_of(request), request.match_info["key_id"]
    if KEY_ID.fullmatch(key_id) is None:
        raise _not_found()
    try:
        key = await revoke_key(
            context.pool, key_id, user_id=principal.user_id, actor=actor_of(request, principal.user_id)
        )
    except PermanentError:
        raise _not_found() from None
    await context.notifications.publish_access(key.user_id)
    return web.Response(status=204)


def _not_found() -> Refusal:
    return Refusal(404, "not_found", "there is no such key among yours")


def _resource(key: ApiKey) -> KeyResource:
    return KeyResource(
        id=key.key_id,
        name=key.name,
        scopes=list(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
