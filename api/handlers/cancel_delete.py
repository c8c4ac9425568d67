"""Cancel and delete: an event on the log, answered when the projections have it."""

from datetime import UTC, datetime
from typing import TypedDict
from uuid import UUID

import asyncpg
from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.handlers.generations import own_row, reach, reached, shown
from api.http.parsing import CORRELATION_ID, TRACEPARENT, Query, generation_id_of
from api.http.responses import json_response
from gengui_stream.domain.generation.state import TERMINAL
from gengui_stream.identifiers import new_id
from schemas.events import GenerationCancelRequested, GenerationDeleted


class _Envelope(TypedDict):
    id: UUID
    generation_id: UUID
    occurred_at: datetime
    producer: str
    correlation_id: str
    traceparent: str | None


async def cancel(request: web.Request) -> web.Response:
    context, owner_id, row = await _own(request)
    headers = {}
    if row["status"] not in TERMINAL and not row["cancel_requested"]:
        position = await context.log.append(GenerationCancelRequested(**_envelope(request, row)))
        await reached(context, owner_id, position)
        headers["Gengui-Position"] = str(position)
        row = await own_row(context, row["generation_id"], owner_id)
    found = await shown(request, context, row)
    return json_response({**found, "canceled": _canceled(row)}, headers=headers)


def _canceled(row: asyncpg.Record) -> bool:
    """It is, or it will be as soon as its worker hears of it."""
    return row["status"] == "canceled" or (row["cancel_requested"] and row["status"] not in TERMINAL)


async def delete(request: web.Request) -> web.Response:
    context, owner_id, row = await _own(request)
    position = await context.log.append(GenerationDeleted(**_envelope(request, row)))
    await reached(context, owner_id, position)
    return web.Response(status=204, headers={"Gengui-Position": str(position)})


async def _own(request: web.Request) -> tuple[ApiContext, UUID, asyncpg.Record]:
    caller, context = await principal_of(request, "user", "admin"), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    return context, caller.user_id, await own_row(context, generation_id_of(request), caller.user_id)


def _envelope(request: web.Request, row: asyncpg.Record) -> _Envelope:
    return {
        "id": new_id(),
        "generation_id": row["generation_id"],
        "occurred_at": datetime.now(UTC),
        "producer": "api",
        "correlation_id": request[CORRELATION_ID],
        "traceparent": request.get(TRACEPARENT),
    }
