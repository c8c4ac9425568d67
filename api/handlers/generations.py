"""One generation, a page of generations, and the timeline of one; each as of `Min-Position` if the request has it."""

from collections.abc import Sequence
from typing import Final, get_args

from aiohttp import web

from api.auth import principal_of, require
from api.context import ApiContext, base_url, context_of
from api.http import resources
from api.http.client_address import actor_of
from api.http.cursors import NO_CURSOR, cursor_after, cursor_of
from api.http.parsing import Query, generation_id_of
from api.http.problems import Refusal, fault, invalid, not_found
from api.http.responses import json_response, versioned_response
from api.projection_waits import own, reach
from gengui_stream.accounts.audit_events import record
from gengui_stream.accounts.principals import Principal
from gengui_stream.errors import PermanentError
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.log.positions import Position
from gengui_stream.projections import generation_requests, timeline
from gengui_stream.queries import generations
from gengui_stream.queries.generations import OwnedGeneration
from gengui_stream.recovery.generations.records import NotRecordedError
from gengui_stream.recovery.generations.time_travel import Moment, NoSuchMomentError, travel
from schemas.http import StatusName

PAGE_DEFAULT, PAGE_MAX = 50, 100
TIMELINE_DEFAULT, TIMELINE_MAX = 500, 1_000
STATUSES: Final = get_args(StatusName)
NOT_ALL_KNOWN: Final = "some of its events were removed from the timeline, or the log has lost them"


async def get(request: web.Request) -> web.Response:
    caller, context = await principal_of(request, "generations:read"), context_of(request)
    query = Query(request, "at")
    at = moment_of(query)
    query.check()
    if at is not None:
        require(caller, "ops")
    await reach(request, context, caller.user_id)
    if at is not None:
        return json_response(await _past(request, context, caller, at))
    found = await own(request, context, generation_id_of(request), caller.user_id)
    return versioned_response(request, await shown(request, context, found), found.state.version)


async def page(request: web.Request) -> web.Response:
    caller, context = await principal_of(request, "generations:read"), context_of(request)
    query = Query(request, "status", "provider", "q", "created_after", "created_before", "limit", "cursor")
    filters = generations.Filters(
        statuses=query.choices("status", STATUSES),
        provider=query.text("provider", 100),
        text=query.text("q", 200),
        created_after=query.moment("created_after"),
        created_before=query.moment("created_before"),
    )
    limit = query.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    after = cursor_of(query)
    query.check()
    await reach(request, context, caller.user_id)
    found = await generations.page(context.pool, caller.user_id, filters, after, limit)
    data = await all_shown(request, context, found.generations)
    cursor = cursor_after(*found.after) if found.after is not None else None
    return json_response({"data": data, "next_cursor": cursor})


async def events(request: web.Request) -> web.Response:
    caller, context = await principal_of(request, "generations:read"), context_of(request)
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
    found = [resources.event(row, internals=caller.allows("ops")) for row in rows[:limit]]
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


async def _past(request: web.Request, context: ApiContext, caller: Principal, at: Moment) -> dict[str, object]:
    """The generation of any user as it was, folded from its events in the log. That of another is audited."""
    try:
        async with opened_lookup(context.settings) as log:
            journey = await travel(context.settings, context.pool, log, generation_id_of(request), at)
    except NotRecordedError as error:
        raise not_found() from error
    except NoSuchMomentError as error:
        raise invalid([fault("at", str(error))]) from error
    except PermanentError as error:
        raise Refusal(409, "history_incomplete", NOT_ALL_KNOWN) from error
    requests = generation_requests.rows_of([step.outcome for step in journey.steps])
    if journey.state is None or not requests:
        raise invalid([fault("at", "the generation was not requested by then")])
    if journey.state.deleted_at is not None:
        raise Refusal(404, "not_found", "the generation was deleted by then; an earlier moment has it")
    if (owner := requests[0].owner_id) != caller.user_id:
        actor, generation_id = actor_of(request, caller.user_id), journey.state.generation_id
        await record(context.pool, "generation.read", actor, owner, generation_id=generation_id, at=at)
    return resources.generation(requests[0], journey.state, context.store, base_url(request))


def moment_of(query: Query) -> Moment | None:
    """A position of the log or a time, in `at`."""
    try:
        return Position.parse(query.text("at", 40) or "")
    except ValueError:
        return query.moment("at")


async def _is_cursor_of(context: ApiContext, generation: OwnedGeneration, after: Position) -> bool:
    """Whether the timeline has, or may have had, an event at this position."""
    if generation.pruned_before is not None and after.partition == generation.position.partition:
        return True
    return await timeline.has(context.pool, generation.state.generation_id, after)


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
