"""Users as admins see them, and their limits."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schemas.fields import Moment
from schemas.http import Request, Resource

LIMIT_MAX = 1_000_000

Limit = Annotated[int, Field(ge=0, le=LIMIT_MAX)]


class UserStatistics(Resource):
    """Generations of a user: those of today (UTC) that count for the daily limit, and all by outcome."""

    used_today: int = Field(description="0 for a user without limits")
    requested: int
    completed: int
    failed: int
    canceled: int
    timed_out: int
    moderated: int


class UserLimits(Request):
    """`PUT /v1/admin/users/{id}/limits`, and its response. null: the limit of the role; 0: no limit."""

    daily_limit: Limit | None = Field(description="generations a day (UTC)")
    in_progress_limit: Limit | None = Field(description="generations that have not ended")


class UserSummary(Resource):
    """`statistics`: null unless requested. Limits null: those of the role."""

    id: UUID
    email: str
    user_name: str | None
    role: Literal["user", "worker", "admin"]
    email_verified: bool
    created_at: Moment
    delete_after: Moment | None
    deleted_at: Moment | None
    daily_limit: int | None
    in_progress_limit: int | None
    statistics: UserStatistics | None


class UserPage(Resource):
    """The newest users first. `next_cursor` null: there are no more."""

    data: list[UserSummary]
    next_cursor: str | None


class UserAccessResource(Resource):
    """`failed_log_ins`: within an hour. `locked_networks`: addresses from which the log-in is locked at the moment."""

    keys: int = Field(description="valid ones")
    key_last_used_at: Moment | None
    sessions: int = Field(description="valid ones")
    session_last_seen_at: Moment | None
    failed_log_ins: int
    locked_networks: int


class UserDetail(UserSummary):
    """One user."""

    age_days: int = Field(description="whole days since the account was made")
    access: UserAccessResource
