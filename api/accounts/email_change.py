"""Another e-mail address: requested with the password, and confirmed by the link that was sent there."""

from aiohttp import web

from api.accounts.password_checks import hold, owner_of
from api.accounts.sign_up import invalid_token, promise
from api.auth import session_of
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of
from api.http.problems import fault, invalid
from gengui_stream.accounts import audit_events, emails, one_time_tokens, sessions, users
from gengui_stream.postgres.pool import transient_errors
from schemas.accounts import EmailChange, MailedLink


async def request_change(request: web.Request) -> web.Response:
    """The same for an address that another account has: an e-mail to it tells so."""
    principal, _ = await session_of(request)
    body, context = await read_model(request, EmailChange), context_of(request)
    user = await owner_of(request, principal, body.password)
    if body.email.lower() == user.email.lower():
        raise invalid([fault("email", "is the address of this account already")])
    other = await users.find_by_email(context.pool, body.email)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await hold(connection, user)
            if other is None:
                await emails.enqueue(connection, "email_change", user.user_id, body.email)
            else:
                await emails.enqueue(connection, "address_taken", other.user_id, other.email)
            await audit_events.record(
                connection, "email.change_requested", actor_of(request, user.user_id), user.user_id
            )
    return promise(f"an e-mail to {body.email} has the link to confirm it")


async def confirm(request: web.Request) -> web.Response:
    """Ends all sessions. An e-mail to the former address reports the change."""
    body, context = await read_model(request, MailedLink), context_of(request)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            used = await one_time_tokens.use(connection, body.token, "change_email")
            former = await users.change_email(connection, used.user_id, used.email) if used else None
            if used is None or former is None:
                raise invalid_token()
            await sessions.end_all(connection, used.user_id)
            await emails.enqueue(connection, "email_changed", used.user_id, former)
            await audit_events.record(connection, "email.changed", actor_of(request, used.user_id), used.user_id)
    await context.notifications.publish_access(used.user_id)
    return web.Response(status=204)
