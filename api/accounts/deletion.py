"""Deletion of the account of the caller: it can be taken back until its time has come."""

from datetime import timedelta

from aiohttp import web

from api.accounts.account import account_response
from api.accounts.password_checks import hold, owner_of
from api.auth import session_of
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of
from api.http.parsing import Query
from api.http.problems import Refusal
from gengui_stream.accounts import audit_events, deletion, emails
from gengui_stream.postgres.pool import transient_errors
from schemas.accounts import AccountDeletion


async def request_deletion(request: web.Request) -> web.Response:
    """202 with the account and its `delete_after`. A repeated request changes nothing."""
    principal, _ = await session_of(request)
    body, context = await read_model(request, AccountDeletion), context_of(request)
    user = await owner_of(request, principal, body.password)
    grace = timedelta(seconds=context.settings.account_deletion_grace_s)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await hold(connection, user)
            requested = await deletion.request(connection, user.user_id, grace)
            if requested is not None and requested.first:
                await emails.enqueue(connection, "deletion", user.user_id, requested.email)
                await audit_events.record(
                    connection,
                    "account.deletion_requested",
                    actor_of(request, user.user_id),
                    user.user_id,
                    delete_after=requested.delete_after,
                )
    return await account_response(request, principal.user_id, 202)


async def restore(request: web.Request) -> web.Response:
    principal, _ = await session_of(request)
    Query(request).check()
    context, user_id = context_of(request), principal.user_id
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            if not await deletion.restore(connection, user_id):
                raise Refusal(409, "not_being_deleted", "the deletion of this account was not requested")
            await audit_events.record(connection, "account.restored", actor_of(request, user_id), user_id)
    return await account_response(request, user_id)
