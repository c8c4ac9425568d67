"""A password that a client sends: counted, checked, and the outcome recorded."""

import math

from aiohttp import web

from api.context import ApiContext, context_of
from api.http.client_address import actor_of, client_address
from api.http.problems import Refusal
from gengui_stream.accounts import audit_events, login_failures, users
from gengui_stream.accounts.login_failures import Admission
from gengui_stream.accounts.passwords import PasswordsBusyError, Verified
from gengui_stream.accounts.principals import Principal
from gengui_stream.accounts.users import User
from gengui_stream.limits.policies import network_of
from gengui_stream.postgres.pool import Connection, transient_errors


async def checked(request: web.Request, login: str, user: User | None, password: str) -> Verified:
    """Whether the password is that of the user; of none it never is, with the same work. A failure is recorded. Raises
    a 429 refusal after too many failures. A success has to be reported with `login_failures.succeeded`."""
    context, network = context_of(request), network_of(client_address(request))
    context.passwords.check_capacity()
    admission = await login_failures.admit(context.pool, login, network, user.user_id if user else None)
    if admission.wait_s > 0:
        raise _locked(admission.wait_s)
    try:
        verified = await context.passwords.verify(user.password_hash if user else None, password)
    except PasswordsBusyError:
        await login_failures.uncount(context.pool, login, network)
        raise
    if not verified.matches:
        await _record_failure(request, context, user, admission)
    return verified


async def owner_of(request: web.Request, principal: Principal, password: str) -> User:
    """The user of a session, if the password is the current one: a transaction that follows begins with `hold`. Raises
    the refusals of `checked`, and a 403 refusal for another password."""
    context = context_of(request)
    user = await users.find(context.pool, principal.user_id)
    login = user.email if user else str(principal.user_id)
    verified = await checked(request, login, user, password)
    if user is None or not verified.matches:
        raise _wrong_password()
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            network = network_of(client_address(request))
            await login_failures.succeeded(connection, login, network, user.user_id)
    return user


async def hold(connection: Connection, user: User) -> None:
    """The password stays until the end of the transaction. Raises a 403 refusal when it was changed since it was
    verified: the change has ended what could be done with it."""
    if not await users.hold(connection, user):
        raise _wrong_password()


async def record_failure(request: web.Request, user: User) -> None:
    """Of an attempt whose password was changed since it was verified."""
    await audit_events.record(context_of(request).pool, "login.failed", actor_of(request), user.user_id)


def _wrong_password() -> Refusal:
    return Refusal(403, "wrong_password", "password: it is not the current one of this account")


async def _record_failure(request: web.Request, context: ApiContext, user: User | None, admission: Admission) -> None:
    subject, actor = user.user_id if user else None, actor_of(request)
    await audit_events.record(context.pool, "login.failed", actor, subject)
    if admission.locks:
        await audit_events.record(context.pool, "login.locked", actor, subject)


def _locked(wait_s: float) -> Refusal:
    seconds = math.ceil(wait_s)
    detail = f"too many log-ins have failed; try again in {seconds} s"
    return Refusal(429, "login_locked", detail, headers={"Retry-After": str(seconds)})
