"""The queue: how many jobs are open, and how old the oldest is."""

from datetime import UTC, datetime

from aiohttp import web

from api.admin.acts import admin_of
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.queries.queue_depth import QueueDepth, depths
from schemas.admin.service import QueueReport, QueueResource


async def report(request: web.Request) -> web.Response:
    admin, now = await admin_of(request), datetime.now(UTC)
    Query(request).check()
    data = [_resource(depth, now) for depth in await depths(admin.context.pool)]
    oldest = max((one.oldest_age_s for one in data), default=None)
    found = QueueReport(open=sum(one.open for one in data), oldest_age_s=oldest, data=data)
    return json_response(found.model_dump(mode="json"))


def _resource(depth: QueueDepth, now: datetime) -> QueueResource:
    return QueueResource(
        kind=depth.kind,
        provider=depth.provider,
        open=depth.open,
        due=depth.due,
        leased=depth.leased,
        oldest_created_at=depth.oldest_created_at,
        oldest_age_s=round(max(0.0, (now - depth.oldest_created_at).total_seconds()), 3),
    )
