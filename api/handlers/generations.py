"""One generation, a page of generations, and the timeline of one; each as of `Min-Position` if the request has it."""

import base64
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final, get_args
from uuid import UUID

import asyncpg
from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, base_url, context_of
from api.http import resources
from api.http.parsing import Query, generation_id_of, min_position
from api.http.problems import Refusal, not_found
from api.http.responses import json_response
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.queries import generations, timelines
from schemas.http import StatusName

POSITION_WAIT_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.25
PAGE_DEFAULT, PAGE_MAX = 50, 100
HISTORY_DEFAULT, HISTORY_MAX = 500, 1_000
STATUSES: Final = get_args(StatusName)
NO_CURSOR: Final = "is not a cursor of this API: use next_cursor of the previous page unchanged"


async def get(request: web.Request) -> web.Response:
    caller, context = await principal_of(request), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    row = await own_row(context, generation_id_of(request), caller.user_id)
    return json_response(await shown(request, context, row))


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
    rows = await generations.page(context.pool, caller.user_id, filters, after, limit + 1)
    found = await all_shown(request, context, rows[:limit])
    return json_response({"data": found, "next_cursor": _next(rows, limit)})


async def history(request: web.Request) -> web.Response:
    caller, context = await principal_of(request), context_of(request)
    query = Query(request, "limit", "cursor")
    limit = query.number("limit", HISTORY_DEFAULT, 1, HISTORY_MAX)
    after = _position(query, context.settings.events_partitions)
    query.check()
    await reach(request, context, caller.user_id)
    generation_id = generation_id_of(request)
    await own_row(context, generation_id, caller.user_id)
    rows = await timelines.of_generation(context.pool, generation_id, after, limit + 1)
    found = [resources.event(row) for row in rows[:limit]]
    return json_response({"data": found, "next_cursor": found[-1]["position"] if len(rows) > limit else None})


async def shown(request: web.Request, context: ApiContext, row: asyncpg.Record) -> dict[str, object]:
    [found] = await all_shown(request, context, [row])
    return found


async def all_shown(
    request: web.Request, context: ApiContext, rows: Sequence[asyncpg.Record]
) -> list[dict[str, object]]:
    """The resources of these rows. Takes a queue snapshot only when one of them is queued."""
    base = base_url(request)
    waiting = await context.queue_snapshots.current() if any(map(resources.waits, rows)) else None
    return [resources.generation(row, context.store, base, waiting) for row in rows]


async def own_row(context: ApiContext, generation_id: UUID, owner_id: UUID) -> asyncpg.Record:
    row = await generations.find(context.pool, generation_id, owner_id)
    if row is None:
        raise not_found()
    return row


async def own_state(context: ApiContext, generation_id: UUID, owner_id: UUID) -> Generation:
    """The state for a command. Raises a 404 refusal like `own_row`."""
    with transient_errors():
        state = (await generation_states.load(context.pool, [generation_id])).get(generation_id)
    if state is None or state.owner_id != owner_id or state.deleted_at is not None:
        raise not_found()
    return state


async def reach(request: web.Request, context: ApiContext, owner_id: UUID) -> None:
    """Waits up to POSITION_WAIT_S for the projections to reach `Min-Position`; raises a 504 refusal after that."""
    position = min_position(request, context.settings.events_partitions)
    if position is not None and not await reached(context, owner_id, position):
        detail = f"the projections have not reached {position} yet; try again"
        raise Refusal(504, "projection_behind", detail, headers={"Retry-After": "1"})


async def reached(context: ApiContext, owner_id: UUID, position: Position) -> bool:
    """Whether the projections have the position, after a wait of at most POSITION_WAIT_S."""
    deadline = time.monotonic() + POSITION_WAIT_S
    with context.fanout.subscribed(owner_id) as subscription:
        while not await timelines.has_reached(context.pool, context.settings.events_topic, position):
            left = deadline - time.monotonic()
            if left <= 0 or context.fanout.closing.is_set():
                return False
            await subscription.wait(min(left, POLL_INTERVAL_S))
    return True


def _next(rows: list[asyncpg.Record], limit: int) -> str | None:
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return base64.urlsafe_b64encode(f"{last['requested_at'].isoformat()} {last['generation_id']}".encode()).decode()


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
