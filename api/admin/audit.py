"""The audit trail, by page."""

import re
from typing import Final

from aiohttp import web

from api.admin.acts import admin_of
from api.http.cursors import NO_CURSOR
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.accounts import audit_events
from gengui_stream.accounts.audit_events import AuditEvent
from schemas.admin.service import AuditEventResource, AuditPage

PAGE_DEFAULT, PAGE_MAX = 50, 100
TYPE: Final = re.compile(r"[a-z0-9_.]{1,100}")
PARAMETERS: Final = ("type", "actor_id", "subject_id", "occurred_after", "occurred_before", "limit", "cursor")


async def page(request: web.Request) -> web.Response:
    """The read is an event of the trail, too: of a later page."""
    admin, query = await admin_of(request), Query(request, *PARAMETERS)
    type_, actor_id, subject_id = query.text("type", 100), query.id("actor_id"), query.id("subject_id")
    after, before = query.moment("occurred_after"), query.moment("occurred_before")
    limit, cursor = query.number("limit", PAGE_DEFAULT, 1, PAGE_MAX), _cursor(query)
    if type_ is not None and TYPE.fullmatch(type_) is None:
        query.refuse("type", "must be a type of events, such as login.failed")
    query.check()
    found = await audit_events.page(
        admin.context.pool,
        type_=type_,
        subject_id=subject_id,
        actor_id=actor_id,
        occurred_after=after,
        occurred_before=before,
        before=cursor,
        limit=limit + 1,
    )
    await admin.record("audit.read", subject_id, type=type_, actor_id=actor_id)
    shown = found[:limit]
    next_cursor = str(shown[-1].event_id) if len(found) > limit else None
    document = AuditPage(data=[_resource(event) for event in shown], next_cursor=next_cursor)
    return json_response(document.model_dump(mode="json"))


def _cursor(query: Query) -> int | None:
    text = query.text("cursor", 18)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        query.refuse("cursor", NO_CURSOR)
        return None
    return int(text)


def _resource(event: AuditEvent) -> AuditEventResource:
    return AuditEventResource.model_validate(
        {
            "id": event.event_id,
            "occurred_at": event.occurred_at,
            "type": event.type,
            "actor_id": event.actor_id,
            "subject_id": event.subject_id,
            "address": event.address,
            "request_id": event.request_id,
            "detail": event.detail,
        }
    )
