"""Users as admins see them: a page of them, one in detail, with what the projections count of each."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

from gengui_stream.accounts.keys.validity import VALID_KEY
from gengui_stream.accounts.login_failures import LOCKED_FROM, PAUSES_S, WINDOW_S
from gengui_stream.accounts.principals import Role
from gengui_stream.postgres.pool import Connection, Pool, transient_errors

_COLUMNS: Final = """
SELECT u.user_id, u.email, u.user_name, u.role, u.email_verified_at IS NOT NULL AS email_verified, u.created_at,
    u.delete_after, u.deleted_at, u.daily_limit, u.in_progress_limit FROM accounts.users u
"""
PAGE: Final = f"""{_COLUMNS}
WHERE (u.created_at, u.user_id) <
    (coalesce($1::timestamptz, 'infinity'), coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    AND ($3::text IS NULL OR position(lower($3) IN lower(u.email)) > 0 OR position(lower($3) IN lower(u.user_name)) > 0)
    AND ($4::text IS NULL OR u.role = $4) AND ($5::bool IS NULL OR (u.email_verified_at IS NOT NULL) = $5)
    AND u.deleted_at IS NULL
ORDER BY u.created_at DESC, u.user_id DESC LIMIT $6
"""
ONE: Final = f"{_COLUMNS} WHERE u.user_id = $1"

# With the day of the quota, which `accounts.daily_usage` counts, and the outcomes of all days.
COUNTS: Final = """
SELECT u.user_id, coalesce(d.used, 0) AS used_today, c.* FROM unnest($1::uuid[]) AS u (user_id)
LEFT JOIN accounts.daily_usage d ON d.user_id = u.user_id AND d.day = $2
LEFT JOIN LATERAL (
    SELECT coalesce(sum(requested), 0)::bigint AS requested, coalesce(sum(completed), 0)::bigint AS completed,
        coalesce(sum(failed), 0)::bigint AS failed, coalesce(sum(canceled), 0)::bigint AS canceled,
        coalesce(sum(timed_out), 0)::bigint AS timed_out, coalesce(sum(moderated), 0)::bigint AS moderated
    FROM projections.daily_counts WHERE owner_id = u.user_id) c ON true
"""

_ACCESS: Final = """
SELECT
    (SELECT count(*) FROM accounts.api_keys k WHERE k.user_id = $1 AND {valid_key}) AS keys,
    (SELECT max(last_used_at) FROM accounts.api_keys WHERE user_id = $1) AS key_last_used_at,
    (SELECT count(*) FROM accounts.sessions WHERE user_id = $1 AND expires_at > now()) AS sessions,
    (SELECT max(last_seen_at) FROM accounts.sessions WHERE user_id = $1) AS session_last_seen_at
"""
ACCESS: Final = _ACCESS.format(valid_key=VALID_KEY)
FAILURES: Final = """
SELECT coalesce(max(failures) FILTER (WHERE network = '' AND first_at > now() - make_interval(secs => $3)), 0)
        AS failed_log_ins,
    count(*) FILTER (WHERE network <> '' AND failures >= $4 AND last_at > now() - make_interval(secs => $5))
        AS locked_networks
FROM accounts.login_failures
WHERE login_hash IN (sha256(convert_to(lower($1), 'UTF8')), sha256(convert_to(lower($2), 'UTF8')))
"""

LIMITS: Final = "SELECT daily_limit, in_progress_limit FROM accounts.users WHERE user_id = $1 AND deleted_at IS NULL"
SET_LIMITS: Final = """
UPDATE accounts.users SET daily_limit = $2, in_progress_limit = $3 WHERE user_id = $1 AND deleted_at IS NULL
RETURNING true
"""

PageKey: TypeAlias = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class ListedUser:
    """Limits None: those of the role."""

    user_id: UUID
    email: str
    user_name: str | None
    role: Role
    email_verified: bool
    created_at: datetime
    delete_after: datetime | None
    deleted_at: datetime | None
    daily_limit: int | None
    in_progress_limit: int | None


@dataclass(frozen=True, slots=True)
class UserCounts:
    """Generations: those of today (UTC) that count for the limit, and all by outcome."""

    used_today: int
    requested: int
    completed: int
    failed: int
    canceled: int
    timed_out: int
    moderated: int


@dataclass(frozen=True, slots=True)
class UserAccess:
    """Valid keys and sessions, and failed log-ins: within an hour, from all networks together. `locked_networks`: from
    which the log-in is locked at the moment."""

    keys: int
    key_last_used_at: datetime | None
    sessions: int
    session_last_seen_at: datetime | None
    failed_log_ins: int
    locked_networks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilters:
    """None: no condition. `text`: a part of the e-mail address or of the user name, ignoring case."""

    text: str | None = None
    role: Role | None = None
    email_verified: bool | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """None: that of the role; 0: no limit."""

    daily: int | None
    in_progress: int | None


async def page(pool: Pool, filters: UserFilters, after: PageKey | None, limit: int) -> list[ListedUser]:
    """The newest first."""
    moment, user_id = after or (None, None)
    arguments = (moment, user_id, filters.text, filters.role, filters.email_verified, limit)
    with transient_errors():
        return [ListedUser(**row) for row in await pool.fetch(PAGE, *arguments)]


async def one(pool: Pool, user_id: UUID) -> ListedUser | None:
    """Also a deleted user."""
    with transient_errors():
        row = await pool.fetchrow(ONE, user_id)
    return ListedUser(**row) if row else None


async def counts(pool: Pool, user_ids: list[UUID], today: date) -> dict[UUID, UserCounts]:
    with transient_errors():
        rows = await pool.fetch(COUNTS, user_ids, today)
    return {row["user_id"]: _counts(row) for row in rows}


def _counts(row: asyncpg.Record) -> UserCounts:
    return UserCounts(**{name: value for name, value in row.items() if name != "user_id"})


async def access(pool: Pool, user: ListedUser) -> UserAccess:
    failures = (user.email, user.user_name or "", WINDOW_S, LOCKED_FROM, PAUSES_S[LOCKED_FROM])
    with transient_errors():
        row, failed = await pool.fetchrow(ACCESS, user.user_id), await pool.fetchrow(FAILURES, *failures)
    return UserAccess(**{**(row or {}), **(failed or {})})


async def limits(pool: Pool, user_id: UUID) -> Limits | None:
    """None when there is no such user."""
    with transient_errors():
        row = await pool.fetchrow(LIMITS, user_id)
    return Limits(*row) if row else None


async def set_limits(connection: Connection, user_id: UUID, wanted: Limits) -> bool:
    """False when there is no such user."""
    with transient_errors():
        return bool(await connection.fetchval(SET_LIMITS, user_id, wanted.daily, wanted.in_progress))
