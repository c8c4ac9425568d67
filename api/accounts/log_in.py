"""Log-in and log-out."""

from contextlib import suppress
from datetime import timedelta

from aiohttp import web

from api.accounts.account import account_resource
from api.accounts.password_checks import checked, record_failure
from api.auth import CHALLENGE
from api.browsers.session_cookies import clear_session, session_token_of, set_session
from api.context import ApiContext, context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of, client_address
from api.http.parsing import Query
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.accounts import audit_events, login_failures, sessions, users
from gengui_stream.accounts.passwords import PasswordsBusyError
from gengui_stream.accounts.users import User
from gengui_stream.limits.policies import network_of
from gengui_stream.postgres.pool import transient_errors
from schemas.accounts import LogIn


async def log_in(request: web.Request) -> web.Response:
    body, context = await read_model(request, LogIn), context_of(request)
    user = await _found(context, body.login)
    verified = await checked(request, body.login, user, body.password)
    if user is None or not verified.matches:
        raise _invalid_credentials()
    token = await _started(request, user, body.login)
    if token is None:
        await record_failure(request, user)
        raise _invalid_credentials()
    if verified.outdated:
        await _rehash(request, user, body.password)
    response = json_response(account_resource(user))
    set_session(request, response, token)
    return response


async def _found(context: ApiContext, login: str) -> User | None:
    """None also before the address is verified: a sign-up makes no account if the address has one, so that a log-in to
    an account that was just made would tell that its address was new."""
    user = await users.find_by_login(context.pool, login)
    return user if user is not None and user.email_verified_at is not None else None


def _invalid_credentials() -> Refusal:
    detail = "there is no account with this login and password whose e-mail address is verified"
    return Refusal(401, "invalid_credentials", detail, headers={"WWW-Authenticate": CHALLENGE})


async def _started(request: web.Request, user: User, login: str) -> str | None:
    """The token of a new session, in place of the one in the request: a token from before the log-in, which another
    site may have set, is of no use after it. None: the password was changed since it was verified."""
    context, address = context_of(request), client_address(request)
    valid_for, former = timedelta(seconds=context.settings.session_ttl_s), session_token_of(request)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            if not await users.hold(connection, user):
                return None
            ended = await sessions.end_by_token(connection, former) if former is not None else None
            agent = request.headers.get("User-Agent", "")
            token = await sessions.start(connection, user.user_id, valid_for, address, agent)
            await login_failures.succeeded(connection, login, network_of(address), user.user_id)
            await audit_events.record(connection, "login.succeeded", actor_of(request, user.user_id), user.user_id)
    if ended is not None:
        await context.notifications.publish_access(ended.user_id)
    return token


async def _rehash(request: web.Request, user: User, password: str) -> None:
    context = context_of(request)
    with suppress(PasswordsBusyError):  # at the next log-in
        renewed = await context.passwords.hash(password)
        await users.rehash(context.pool, user.user_id, user.password_hash or "", renewed)


async def log_out(request: web.Request) -> web.Response:
    """Ends the session of the cookie, if there is one."""
    Query(request).check()
    context, token = context_of(request), session_token_of(request)
    ended = await sessions.end_by_token(context.pool, token) if token is not None else None
    if ended is not None:
        user_id = ended.user_id
        await context.notifications.publish_access(user_id)
        await audit_events.record(
            context.pool, "session.ended", actor_of(request, user_id), user_id, session_id=ended.session_id
        )
    response = web.Response(status=204)
    clear_session(request, response)
    return response
