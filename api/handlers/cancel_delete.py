"""Cancel and delete: each decides by the state of the generation, and answers what the projections have then."""

from typing import NamedTuple

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.handlers.generations import shown
from api.http.parsing import Query, generation_id_of, stamp_of
from api.http.responses import json_response
from api.projection_waits import own, reach, reached
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import Decision, Rejection
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import BugError
from gengui_stream.log.positions import Position
from gengui_stream.queries import generations
from gengui_stream.queries.generations import OwnedGeneration


class _Target(NamedTuple):
    context: ApiContext
    generation: OwnedGeneration


async def cancel(request: web.Request) -> web.Response:
    """200 once the generation has ended, and 202 before: its worker has not stopped and may still complete, or the
    projections do not have the request yet. `canceled` is the status alone."""
    context, generation = await _own(request)
    state = generation.state
    position = await _append(context, generation, decide.cancel(state, stamp_of(request)))
    found = await own(request, context, state.generation_id, state.owner_id)
    document = await shown(request, context, found)
    document |= {"cancel_requested": not found.state.terminal, "canceled": found.state.status is Status.CANCELED}
    return json_response(document, 200 if found.state.terminal else 202, _position_header(position))


async def delete(request: web.Request) -> web.Response:
    """204 once readers no longer find the generation; 202 while the projections do not have the request yet."""
    context, generation = await _own(request)
    state = generation.state
    position = await _append(context, generation, decide.delete(state, stamp_of(request)))
    found = await generations.find(context.pool, state.generation_id, state.owner_id)
    if found is None:
        return web.Response(status=204, headers=_position_header(position))
    document = await shown(request, context, found) | {"deletion_requested": True}
    return json_response(document, 202, _position_header(position))


async def _own(request: web.Request) -> _Target:
    caller, context = await principal_of(request, "generations:write"), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    return _Target(context, await own(request, context, generation_id_of(request), caller.user_id))


async def _append(context: ApiContext, generation: OwnedGeneration, decision: Decision) -> Position | None:
    """The position of the last event, after a bounded wait for the projections to have it; None if there is nothing to
    append."""
    if isinstance(decision, Rejection):
        raise BugError(f"{decision.code}: cancel and delete are never refused")
    if not decision:
        return None
    position = await context.pending.append(decision)
    await reached(context, generation.state.owner_id, position)
    return position


def _position_header(position: Position | None) -> dict[str, str]:
    return {} if position is None else {"Gengui-Position": str(position)}
