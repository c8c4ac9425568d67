"""Providers call when an attempt has ended. What they say is not believed: the attempt is looked at, now instead of
later. So the body may be anything, and a call that comes twice does no harm."""

from typing import Final

from aiohttp import web

from api.context import ApiContext, context_of
from api.http.parsing import read_body
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.jobs.queue import expedite_reconcile
from gengui_stream.providers.webhook_tokens import AttemptName, attempt_of

BODY_MAX_BYTES: Final = 1024 * 1024


async def called(request: web.Request) -> web.Response:
    """No key is asked for: the token is the proof that the URL is one of ours."""
    context = context_of(request)
    name = _named(context, request)
    await read_body(request, BODY_MAX_BYTES)
    if not await expedite_reconcile(context.pool, name.generation_id, name.attempt):
        return json_response({"outcome": "ignored", "detail": "nobody waits for that attempt (any more)"})
    await context.notifications.publish((), {"reconcile"})
    return json_response({"outcome": "noted", "detail": None})


def _named(context: ApiContext, request: web.Request) -> AttemptName:
    secret, provider = context.settings.webhook_secret, request.match_info["provider"]
    token = request.match_info["token"]
    name = attempt_of(provider, token, secret.get_secret_value()) if secret is not None else None
    if name is None:
        raise Refusal(404, "not_found", "there is no such webhook")
    return name
