"""Cancel and delete: each decides by the state of the generation, and responds once the projections have its events."""

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.handlers.generations import own, reach, reached, shown
from api.http.parsing import Query, generation_id_of, stamp_of
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import Decision, Rejection
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.errors import BugError
from gengui_stream.log.positions import Position
from gengui_stream.queries import generations


async def cancel(request: web.Request) -> web.Response:
    """`canceled` is the status alone: a worker that was asked to stop may still complete."""
    context, state = await _own(request)
    position = await _append(context, state, decide.cancel(state, stamp_of(request)))
    found = await own(context, state.generation_id, state.owner_id)
    if position is not None and not (found.state.cancel_requested or found.state.terminal):
        raise _not_applied(position)  # parked behind a dead letter
    document = await shown(request, context, found)
    return json_response(
        {**document, "canceled": found.state.status is Status.CANCELED}, headers=_position_header(position)
    )


async def delete(request: web.Request) -> web.Response:
    context, state = await _own(request)
    position = await _append(context, state, decide.delete(state, stamp_of(request)))
    if position is not None and await generations.find(context.pool, state.generation_id, state.owner_id) is not None:
        raise _not_applied(position)  # parked behind a dead letter
    return web.Response(status=204, headers=_position_header(position))


async def _own(request: web.Request) -> tuple[ApiContext, Generation]:
    caller, context = await principal_of(request, "user", "admin"), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    found = await own(context, generation_id_of(request), caller.user_id)
    return context, found.state


async def _append(context: ApiContext, state: Generation, decision: Decision) -> Position | None:
    """The position of the last event, once the projections have it; None if there is nothing to append."""
    if isinstance(decision, Rejection):
        raise BugError(f"{decision.code}: cancel and delete are never refused")
    if not decision:
        return None
    position = (await context.log.append_many(decision))[-1]
    if not await reached(context, state.owner_id, position):
        raise _not_applied(position)
    return position


def _not_applied(position: Position) -> Refusal:
    """The event is on the log, so it will be applied."""
    detail = f"the request is recorded at {position} and will be carried out; the projections have not applied it yet"
    return Refusal(504, "projection_behind", detail, headers={"Retry-After": "1", **_position_header(position)})


def _position_header(position: Position | None) -> dict[str, str]:
    return {} if position is None else {"Gengui-Position": str(position)}
