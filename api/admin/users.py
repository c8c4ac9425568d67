"""Users: a page of them, and one in detail."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, get_args
from uuid import UUID

from aiohttp import web

from api.admin.acts import admin_of, no_user, user_id_of
from api.http.cursors import cursor_after, cursor_of
from api.http.parsing import Query
from api.http.responses import json_response
from gengui_stream.accounts.principals import Role
from gengui_stream.queries import users
from gengui_stream.queries.users import ListedUser, UserCounts, UserFilters
from schemas.admin.users import UserAccessResource, UserDetail, UserPage, UserStatistics, UserSummary

PAGE_DEFAULT, PAGE_MAX = 50, 100
ROLES: Final[Mapping[str, Role]] = {role: role for role in get_args(Role)}
PARAMETERS: Final = ("search", "role", "email_verified", "statistics", "limit", "cursor")


async def page(request: web.Request) -> web.Response:
    admin, query = await admin_of(request), Query(request, *PARAMETERS)
    role = _role(query)
    filters = UserFilters(text=query.text("search", 200), role=role, email_verified=query.flag("email_verified"))
    statistics, limit = query.flag("statistics"), query.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    after = cursor_of(query)
    query.check()
    await admin.record("users.listed", None, search=filters.text, role=role, statistics=bool(statistics))
    found = await users.page(admin.context.pool, filters, after, limit + 1)
    shown, more = found[:limit], len(found) > limit
    ids = [user.user_id for user in shown] if statistics else []
    counts = await users.counts(admin.context.pool, ids, datetime.now(UTC).date()) if ids else {}
    data = [UserSummary.model_validate(_summary(user, counts)) for user in shown]
    cursor = cursor_after(shown[-1].created_at, shown[-1].user_id) if more else None
    return json_response(UserPage(data=data, next_cursor=cursor).model_dump(mode="json"))


async def one(request: web.Request) -> web.Response:
    """Also of a deleted user, whose row has no name any more."""
    admin, user_id, now = await admin_of(request), user_id_of(request), datetime.now(UTC)
    Query(request).check()
    pool = admin.context.pool
    user = await users.one(pool, user_id)
    if user is None:
        raise no_user()
    await admin.record("user.read", user_id)
    access, counts = await users.access(pool, user), await users.counts(pool, [user_id], now.date())
    detail = UserDetail.model_validate(
        {
            **_summary(user, counts),
            "age_days": max(0, (now - user.created_at).days),
            "access": UserAccessResource.model_validate(access, from_attributes=True),
        }
    )
    return json_response(detail.model_dump(mode="json"))


def _role(query: Query) -> Role | None:
    chosen = query.choices("role", tuple(ROLES))
    if chosen is None or len(chosen) != 1:
        if chosen:
            query.refuse("role", "must be one role")
        return None
    return ROLES.get(chosen[0])


def _summary(user: ListedUser, counts: Mapping[UUID, UserCounts]) -> dict[str, object]:
    found = counts.get(user.user_id)
    statistics = UserStatistics.model_validate(found, from_attributes=True) if found else None
    names = (name for name in UserSummary.model_fields if name not in {"id", "statistics"})
    return {"id": user.user_id, "statistics": statistics, **{name: getattr(user, name) for name in names}}
