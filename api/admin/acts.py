"""What admins do, in the audit trail. Before the answer: without a record there is none."""

from dataclasses import dataclass
from uuid import UUID

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.http.client_address import actor_of
from api.http.problems import Refusal
from gengui_stream.accounts import audit_events
from gengui_stream.accounts.audit_events import Actor
from gengui_stream.accounts.principals import Principal
from schemas.fields import written_uuid


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin of a request."""

    principal: Principal
    actor: Actor
    context: ApiContext

    async def record(self, type_: str, subject_id: UUID | None, **detail: object) -> None:
        await audit_events.record(self.context.pool, type_, self.actor, subject_id, **detail)


async def admin_of(request: web.Request) -> Admin:
    """Raises the refusals of `principal_of`."""
    principal = await principal_of(request, "ops")
    return Admin(principal, actor_of(request, principal.user_id), context_of(request))


def user_id_of(request: web.Request) -> UUID:
    """The id in the path. Raises a 404 refusal for any other text."""
    try:
        return written_uuid(request.match_info["id"])
    except ValueError:
        raise no_user() from None


def no_user() -> Refusal:
    return Refusal(404, "not_found", "there is no such user")
