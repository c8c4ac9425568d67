"""The limits of one user, in place of those of the role."""

from uuid import UUID

from aiohttp import web

from api.admin.acts import admin_of, no_user, user_id_of
from api.http.bodies import read_model
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.accounts.audit_events import record
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.queries import users
from gengui_stream.queries.users import Limits
from schemas.admin.users import UserLimits


async def get(request: web.Request) -> web.Response:
    admin, user_id = await admin_of(request), user_id_of(request)
    Query(request).check()
    found = await _limits(admin.context.pool, user_id)
    await admin.record("limits.read", user_id)
    return _response(found)


async def put(request: web.Request) -> web.Response:
    admin, user_id = await admin_of(request), user_id_of(request)
    body = await read_model(request, UserLimits)
    wanted, pool = Limits(body.daily_limit, body.in_progress_limit), admin.context.pool
    before = await _limits(pool, user_id)
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            if not await users.set_limits(connection, user_id, wanted):
                raise no_user()
            changes = {"daily": [before.daily, wanted.daily], "in_progress": [before.in_progress, wanted.in_progress]}
            await record(connection, "limits.changed", admin.actor, user_id, **changes)
    return _response(wanted)


async def _limits(pool: Pool, user_id: UUID) -> Limits:
    found = await users.limits(pool, user_id)
    if found is None:
        raise no_user()
    return found


def _response(limits: Limits) -> web.Response:
    return json_response(UserLimits(daily_limit=limits.daily, in_progress_limit=limits.in_progress).model_dump())
