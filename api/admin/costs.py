"""What was used at the providers, and what it cost."""

from aiohttp import web

from api.admin.acts import admin_of
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.queries.costs import costs, report_of, usage


async def report(request: web.Request) -> web.Response:
    admin, query = await admin_of(request), Query(request, "since", "until")
    since, until = query.day("since"), query.day("until")
    query.check()
    context = admin.context
    found = costs(await usage(context.pool, since, until), context.settings.price_list)
    return json_response(report_of(found).model_dump(mode="json"))
