"""Cancel and delete: each decides by the state of the generation, and responds once the projections have its events."""

from uuid import UUID

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.handlers.generations import own, reach, reached, shown
from api.http.parsing import Query, generation_id_of, stamp_of
from api.http.responses import json_response
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import Decision, Rejection
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.errors import BugError


async def cancel(request: web.Request) -> web.Response:
    context, state = await _own(request)
    headers = await _append(context, state.owner_id, decide.cancel(state, stamp_of(request)))
    found = await own(context, state.generation_id, state.owner_id)
    document = await shown(request, context, found)
    return json_response({**document, "canceled": _canceled(found.state)}, headers=headers)


def _canceled(state: Generation) -> bool:
    """Canceled, or canceled as soon as its worker confirms it."""
    return state.status is Status.CANCELED or (state.cancel_requested and not state.terminal)


async def delete(request: web.Request) -> web.Response:
    context, state = await _own(request)
    headers = await _append(context, state.owner_id, decide.delete(state, stamp_of(request)))
    return web.Response(status=204, headers=headers)


async def _own(request: web.Request) -> tuple[ApiContext, Generation]:
    caller, context = await principal_of(request, "user", "admin"), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    found = await own(context, generation_id_of(request), caller.user_id)
    return context, found.state


async def _append(context: ApiContext, owner_id: UUID, decision: Decision) -> dict[str, str]:
    """Waits for the projections; returns the header with the position of the last event, if there is one."""
    if isinstance(decision, Rejection):
        raise BugError(f"{decision.code}: cancel and delete are never refused")
    if not decision:
        return {}
    position = (await context.log.append_many(decision))[-1]
    await reached(context, owner_id, position)
    return {"Gengui-Position": str(position)}
