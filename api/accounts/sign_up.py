"""Sign-up, and the verification of an e-mail address. Responses, statements and time are the same for an address that
has an account and for one that has none: only the e-mail tells."""

from aiohttp import web

from api.accounts.account import name_taken
from api.context import context_of
from api.http.bodies import read_model
from api.http.client_address import actor_of
from api.http.problems import Refusal
from api.http.responses import json_response
from gengui_stream.accounts import audit_events, emails, one_time_tokens, users
from gengui_stream.postgres.pool import Connection, transient_errors
from schemas.accounts import MailedLink, MailPromise, MailRequest, SignUp


async def sign_up(request: web.Request) -> web.Response:
    body, context = await read_model(request, SignUp), context_of(request)
    if context.settings.sign_up == "closed":
        raise Refusal(403, "sign_up_closed", "accounts are created by operators here")
    if await users.is_name_taken(context.pool, body.user_name):
        raise name_taken()
    password_hash = await context.passwords.hash(body.password)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            await _sign_up(connection, request, body, password_hash)
    return promise(f"an e-mail to {body.email} has the link to go on")


async def _sign_up(connection: Connection, request: web.Request, body: SignUp, password_hash: str) -> None:
    made = await users.sign_up(connection, body.email, body.user_name, password_hash)
    if made is None:
        raise name_taken()
    await emails.enqueue(connection, "verification" if made.created else "address_taken", made.user_id, made.email)
    type_ = "account.created" if made.created else "account.sign_up_repeated"
    await audit_events.record(connection, type_, actor_of(request), made.user_id)


async def verify_email(request: web.Request) -> web.Response:
    body, context = await read_model(request, MailedLink), context_of(request)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            used = await one_time_tokens.use(connection, body.token, "verify_email")
            if used is None or not await users.verify_email(connection, used.user_id, used.email):
                raise invalid_token()
            await audit_events.record(connection, "email.verified", actor_of(request, used.user_id), used.user_id)
    return web.Response(status=204)


async def resend_verification(request: web.Request) -> web.Response:
    body, context = await read_model(request, MailRequest), context_of(request)
    user = await users.find_by_email(context.pool, body.email)
    waiting = user if user is not None and user.email_verified_at is None else None
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            recipient = waiting.email if waiting else body.email
            await emails.enqueue(connection, "verification", waiting.user_id if waiting else None, recipient)
            await audit_events.record(
                connection,
                "email.verification_requested",
                actor_of(request),
                user.user_id if user else None,
            )
    return promise(f"if {body.email} has an account that is not verified, an e-mail has the link")


def invalid_token() -> Refusal:
    detail = "token: it is unknown, was used, has expired, or is for something else; request another e-mail"
    return Refusal(422, "invalid_token", detail)


def promise(detail: str) -> web.Response:
    return json_response(MailPromise(detail=detail).model_dump(mode="json"), 202)
