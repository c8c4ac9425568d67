"""Webhooks of providers: each call reconciles the attempt at once instead of at its next time. The body is ignored, so
it may be anything, and a repeated call is harmless."""

from typing import Final

from aiohttp import web

from api.context import ApiContext, context_of
from api.http.bodies import read_body
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.jobs.queue import is_reconciled
from gengui_stream.providers.webhook_tokens import AttemptName, attempt_of
from gengui_stream.redis_io.notifications import AttemptNotification

BODY_MAX_BYTES: Final = 1024 * 1024


async def called(request: web.Request) -> web.Response:
    """Requires no API key: the token authenticates the URL."""
    context = context_of(request)
    name = _named(context, request)
    await read_body(request, BODY_MAX_BYTES)
    if not await is_reconciled(context.pool, name.generation_id, name.attempt):
        return json_response({"outcome": "ignored", "detail": "the attempt is not being reconciled (any more)"})
    await context.notifications.publish_attempt(AttemptNotification(name.generation_id, name.attempt))
    return json_response({"outcome": "noted", "detail": None})


def _named(context: ApiContext, request: web.Request) -> AttemptName:
    secret, provider = context.settings.webhook_secret, request.match_info["provider"]
    token = request.match_info["token"]
    name = attempt_of(provider, token, secret.get_secret_value()) if secret is not None else None
    if name is None:
        raise Refusal(404, "not_found", "there is no such webhook")
    return name
