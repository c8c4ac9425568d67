"""Change and reset of a password. Both end sessions, and an e-mail reports it."""

from uuid import UUID

from aiohttp import web

from api.accounts.password_checks import hold, owner_of
from api.accounts.sign_up import invalid_token, promise
from api.auth import session_of
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of, client_address
from api.http.problems import fault, invalid
from gengui_stream.accounts import audit_events, emails, login_failures, one_time_tokens, sessions, users
from gengui_stream.accounts.users import User
from gengui_stream.limits.policies import network_of
from gengui_stream.postgres.pool import Connection, transient_errors
from schemas.accounts import MailRequest, PasswordChange, PasswordReset


async def change(request: web.Request) -> web.Response:
    """Ends all other sessions."""
    principal, session_id = await session_of(request)
    body, context = await read_model(request, PasswordChange), context_of(request)
    if body.new_password == body.current_password:
        raise invalid([fault("new_password", "must differ from the current password")])
    user = await owner_of(request, principal, body.current_password)
    password_hash = await context.passwords.hash(body.new_password)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await hold(connection, user)
            await _set(connection, request, user.user_id, user.email, password_hash, keeping=session_id)
            await audit_events.record(connection, "password.changed", actor_of(request, user.user_id), user.user_id)
    await context.notifications.publish_access(user.user_id)
    return web.Response(status=204)


async def request_reset(request: web.Request) -> web.Response:
    body, context = await read_model(request, MailRequest), context_of(request)
    user = await users.find_by_email(context.pool, body.email)
    user_id = user.user_id if user else None
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await emails.enqueue(connection, "password_reset", user_id, user.email if user else body.email)
            await audit_events.record(connection, "password.reset_requested", actor_of(request), user_id)
    return promise(f"if {body.email} has an account, an e-mail has the link to choose another password")


async def reset(request: web.Request) -> web.Response:
    """Ends all sessions. The e-mail proves the address, too, and lifts the locks of this client."""
    body, context = await read_model(request, PasswordReset), context_of(request)
    password_hash = await context.passwords.hash(body.password)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            used = await one_time_tokens.use(connection, body.token, "reset_password")
            if used is None or not await users.verify_email(connection, used.user_id, used.email):
                raise invalid_token()
            await _set(connection, request, used.user_id, used.email, password_hash)
            await _lift_locks(connection, request, await users.find(connection, used.user_id))
            await audit_events.record(connection, "password.reset", actor_of(request, used.user_id), used.user_id)
    await context.notifications.publish_access(used.user_id)
    return web.Response(status=204)


async def _set(
    connection: Connection,
    request: web.Request,
    user_id: UUID,
    email: str,
    password_hash: str,
    *,
    keeping: UUID | None = None,
) -> None:
    await users.set_password(connection, user_id, password_hash)
    # In this order: the e-mail that is being sent holds its row while its token is made.
    await emails.withdraw_links(connection, user_id)
    await one_time_tokens.revoke_all(connection, user_id)
    await sessions.end_all(connection, user_id, except_for=keeping)
    await emails.enqueue(connection, "password_changed", user_id, email)


async def _lift_locks(connection: Connection, request: web.Request, user: User | None) -> None:
    network = network_of(client_address(request))
    for login in (user.email, user.user_name) if user else ():
        if login is not None:
            await login_failures.forget(connection, login, network)
    if user is not None:
        await login_failures.record_network(connection, user.user_id, network)
