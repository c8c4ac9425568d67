"""What a user has used of its limits."""

from datetime import UTC, datetime

from aiohttp import web

from api.auth import principal_of
from api.context import context_of
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.limits.admission import limits_of, usage_of
from schemas.http import DailyUsage, InProgressUsage, UsageResource


async def usage(request: web.Request) -> web.Response:
    caller, context = await principal_of(request, "generations:read"), context_of(request)
    Query(request).check()
    found = await usage_of(context.pool, caller.user_id, limits_of(context.settings, caller), datetime.now(UTC))
    daily = _usage(found.used, found.limits.daily)
    resource = UsageResource(
        daily=DailyUsage(**daily.model_dump(), resets_at=found.resets_at),
        in_progress=_usage(found.open, found.limits.in_progress),
        requests_per_minute=context.settings.requests_per_minute or None,
    )
    return json_response(resource.model_dump(mode="json"))


def _usage(used: int, limit: int) -> InProgressUsage:
    """`limit`: 0 for none."""
    return InProgressUsage(limit=limit or None, used=used, remaining=max(0, limit - used) if limit else None)
