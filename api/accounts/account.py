"""The account of the caller, and its user name."""

from uuid import UUID

from aiohttp import web

from api.accounts.password_checks import hold, owner_of
from api.auth import session_of
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of
from api.http.parsing import Query
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.accounts import audit_events, users
from gengui_stream.accounts.users import User
from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import transient_errors
from schemas.accounts import AccountChange, AccountResource


def account_resource(user: User) -> dict[str, object]:
    resource = AccountResource(
        id=user.user_id,
        email=user.email,
        user_name=user.user_name,
        role=user.role,
        email_verified=user.email_verified_at is not None,
        created_at=user.created_at,
        delete_after=user.delete_after,
    )
    return resource.model_dump(mode="json")


async def get(request: web.Request) -> web.Response:
    principal, _ = await session_of(request)
    Query(request).check()
    return await account_response(request, principal.user_id)


async def account_response(request: web.Request, user_id: UUID, status: int = 200) -> web.Response:
    """The account as it is now."""
    user = await users.find(context_of(request).pool, user_id)
    if user is None:
        raise TransientError("the account was deleted during the request")
    return json_response(account_resource(user), status)


async def rename(request: web.Request) -> web.Response:
    principal, _ = await session_of(request)
    body, context = await read_model(request, AccountChange), context_of(request)
    user = await owner_of(request, principal, body.password)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await hold(connection, user)
            taken = await users.is_name_taken(connection, body.user_name, by_other_than=user.user_id)
            if taken or not await users.rename(connection, user.user_id, body.user_name):
                raise name_taken()
            await audit_events.record(connection, "user_name.changed", actor_of(request, user.user_id), user.user_id)
    return await account_response(request, user.user_id)


def name_taken() -> Refusal:
    return Refusal(409, "user_name_taken", "user_name: it is taken; choose another one")
