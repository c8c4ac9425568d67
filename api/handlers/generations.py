"""One generation, a page of generations, and the timeline of one; each as of `Min-Position` if the request has it."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Final, get_args
from uuid import UUID

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, base_url, context_of
from api.http import resources
from api.http.parsing import Query, generation_id_of
from api.http.problems import fault, invalid
from api.http.responses import json_response, versioned_response
from api.projection_waits import own, reach
from gengui_stream.log.positions import Position
from gengui_stream.projections import timeline
from gengui_stream.queries import generations
from gengui_stream.queries.generations import OwnedGeneration
from schemas.http import StatusName

PAGE_DEFAULT, PAGE_MAX = 50, 100
TIMELINE_DEFAULT, TIMELINE_MAX = 500, 1_000
STATUSES: Final = get_args(StatusName)
NO_CURSOR: Final = "is not a cursor of this API: use next_cursor of the previous page unchanged"


async def get(request: web.Request) -> web.Response:
    caller, context = await principal_of(request), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    found = await own(request, context, generation_id_of(request), caller.user_id)
    return versioned_response(request, await shown(request, context, found), found.state.version)


async def page(request: web.Request) -> web.Response:
    caller, context = await principal_of(request), context_of(request)
    query = Query(request, "status", "provider", "q", "created_after", "created_before", "limit", "cursor")
    filters = generations.Filters(
        statuses=query.choices("status", STATUSES),
        provider=query.text("provider", 100),
        text=query.text("q", 200),
        created_after=query.moment("created_after"),
        created_before=query.moment("created_before"),
    )
    limit = query.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    after = _cursor(query)
    query.check()
    await reach(request, context, caller.user_id)
    found = await generations.page(context.pool, caller.user_id, filters, after, limit + 1)
    data = await all_shown(request, context, found[:limit])
    return json_response({"data": data, "next_cursor": _next(found, limit)})


async def events(request: web.Request) -> web.Response:
    caller, context = await principal_of(request), context_of(request)
    query = Query(request, "limit", "cursor")
    limit = query.number("limit", TIMELINE_DEFAULT, 1, TIMELINE_MAX)
    after = _position(query, context.settings.events_partitions)
    query.check()
    await reach(request, context, caller.user_id)
    generation_id = generation_id_of(request)
    generation = await own(request, context, generation_id, caller.user_id)
    if after is not None and not await _is_cursor_of(context, generation, after):
        raise invalid([fault("cursor", NO_CURSOR)])
    rows = await timeline.of_generation(context.pool, generation_id, after, limit + 1)
    found = [resources.event(row, internals=caller.role == "admin") for row in rows[:limit]]
    cursor = found[-1]["position"] if len(rows) > limit else None
    return json_response({"data": found, "next_cursor": cursor, "pruned_before": generation.pruned_before})


async def shown(request: web.Request, context: ApiContext, generation: OwnedGeneration) -> dict[str, object]:
    [document] = await all_shown(request, context, [generation])
    return document


async def all_shown(
    request: web.Request, context: ApiContext, found: Sequence[OwnedGeneration]
) -> list[dict[str, object]]:
    """The resources of these generations. Takes a queue snapshot only when one of them is queued."""
    base = base_url(request)
    waiting = await context.queue_snapshots.current() if any(resources.waits(one.state) for one in found) else None
    return [resources.generation(one.request, one.state, context.store, base, waiting) for one in found]


async def _is_cursor_of(context: ApiContext, generation: OwnedGeneration, after: Position) -> bool:
    """Whether the timeline has, or may have had, an event at this position."""
    if generation.pruned_before is not None:
        return True
    return await timeline.has(context.pool, generation.state.generation_id, after)


def _next(found: Sequence[OwnedGeneration], limit: int) -> str | None:
    if len(found) <= limit:
        return None
    last = found[limit - 1].state
    return base64.urlsafe_b64encode(f"{last.requested_at.isoformat()} {last.generation_id}".encode()).decode()


def _cursor(query: Query) -> tuple[datetime, UUID] | None:
    text = query.text("cursor", 200)
    if text is None:
        return None
    try:
        moment, generation_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        return query.placed(datetime.fromisoformat(moment)), UUID(generation_id)
    except ValueError:
        query.refuse("cursor", NO_CURSOR)
        return None


def _position(query: Query, partitions: int) -> Position | None:
    """The last position of the previous page of a timeline; None for the first page."""
    cursor = query.text("cursor", 40)
    if cursor is None:
        return None
    try:
        position = Position.parse(cursor)
    except ValueError:
        position = None
    if position is None or position.partition >= partitions:
        query.refuse("cursor", NO_CURSOR)
        return None
    return position
