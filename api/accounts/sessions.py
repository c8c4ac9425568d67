"""The sessions of the caller: listed, and ended."""

from collections.abc import Mapping
from uuid import UUID

from aiohttp import web

from api.auth import session_of
from api.browsers.session_cookies import clear_session
from api.context import context_of
from api.http.client_address import actor_of
from api.http.parsing import Query
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.accounts import audit_events, sessions
from schemas.accounts import SESSIONS_LISTED, SessionList, SessionResource
from schemas.fields import written_uuid


async def page(request: web.Request) -> web.Response:
    principal, current = await session_of(request)
    Query(request).check()
    found = await sessions.list_sessions(context_of(request).pool, principal.user_id, SESSIONS_LISTED)
    data = [
        SessionResource(
            id=session.session_id,
            current=session.session_id == current,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            expires_at=session.expires_at,
            address=session.address,
            user_agent=session.user_agent,
        )
        for session in found
    ]
    return json_response(SessionList(data=data).model_dump(mode="json"))


async def end(request: web.Request) -> web.Response:
    """Raises a 404 refusal for a session of another user, too."""
    principal, current = await session_of(request)
    Query(request).check()
    try:
        session_id = written_uuid(request.match_info["id"])
    except ValueError:
        raise _not_found() from None
    context = context_of(request)
    if not await sessions.end(context.pool, principal.user_id, session_id):
        raise _not_found()
    await _report(request, principal.user_id, {"session_id": session_id})
    response = web.Response(status=204)
    if session_id == current:
        clear_session(request, response)
    return response


async def end_others(request: web.Request) -> web.Response:
    principal, current = await session_of(request)
    Query(request).check()
    context = context_of(request)
    ended = await sessions.end_all(context.pool, principal.user_id, except_for=current)
    await _report(request, principal.user_id, {"ended": ended})
    return web.Response(status=204)


async def _report(request: web.Request, user_id: UUID, detail: Mapping[str, object]) -> None:
    """To the audit trail, and to open event streams, which end."""
    context = context_of(request)
    await context.notifications.publish_access(user_id)
    await audit_events.record(context.pool, "session.revoked", actor_of(request, user_id), user_id, **detail)


def _not_found() -> Refusal:
    return Refusal(404, "not_found", "there is no such session among yours")
