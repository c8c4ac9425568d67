"""Admits generations: the quota of a day, and how many of one user are in progress.

One statement counts a generation, under the lock of its user's row: however many processes ask, exactly the quota is
admitted. A generation is in progress from here until the projections have its end; one that they do not have at all
stops counting after UNKNOWN_AFTER.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

import asyncpg

from gengui_stream.accounts.principals import Principal
from gengui_stream.errors import BugError, TransientError
from gengui_stream.identifiers import lowest_id_of
from gengui_stream.limits.policies import DAY_S, Policy, Standing
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.settings import Settings

UNKNOWN_AFTER: Final = timedelta(minutes=15)
"""Then a generation that the projections lack is taken for one whose request failed between its admission and its
append."""

TRIES: Final = 3

RefusedBy: TypeAlias = Literal["daily", "in_progress"]

_STILL_OPEN: Final = """ARRAY(
    SELECT id FROM unnest(d.open) AS id LEFT JOIN projections.generation_states s ON s.generation_id = id
    WHERE CASE WHEN s.generation_id IS NULL THEN id > $5 ELSE s.ended_at IS NULL END)"""

_LIMITS: Final = """
WITH limits AS (
    SELECT coalesce(daily_limit, $3) AS daily, coalesce(in_progress_limit, $4) AS in_progress,
        (now() AT TIME ZONE 'UTC')::date AS today
    FROM accounts.users WHERE user_id = $1)
"""

# A statement that waits over midnight for the row does not turn its day back.
_ADMIT: Final = """
{limits}
INSERT INTO accounts.daily_usage AS d (user_id, day, used, open)
SELECT $1, today, 1, ARRAY[$2::uuid] FROM limits
WHERE NOT EXISTS (SELECT FROM projections.generation_states WHERE generation_id = $2)
ON CONFLICT (user_id) DO UPDATE SET day = greatest(d.day, EXCLUDED.day),
    used = CASE WHEN d.day >= EXCLUDED.day THEN d.used ELSE 0 END + 1,
    open = array_append({still_open}, $2)
WHERE $2 <> ALL (d.open)
    AND (SELECT daily = 0 OR d.day < EXCLUDED.day OR d.used < daily FROM limits)
    AND (SELECT in_progress = 0 OR cardinality({still_open}) < in_progress FROM limits)
RETURNING now() AS now, day, used, cardinality(open) AS open, (SELECT daily FROM limits) AS daily,
    (SELECT in_progress FROM limits) AS in_progress
"""

_READ: Final = """
{limits}
SELECT now() AS now, greatest(today, d.day) AS day, CASE WHEN d.day >= today THEN d.used ELSE 0 END AS used,
    coalesce(cardinality({still_open}), 0) AS open, daily, in_progress,
    coalesce($2 = ANY (d.open), false)
        OR EXISTS (SELECT FROM projections.generation_states WHERE generation_id = $2) AS admitted
FROM limits LEFT JOIN accounts.daily_usage d ON d.user_id = $1
"""

ADMIT: Final = _ADMIT.format(limits=_LIMITS, still_open=_STILL_OPEN)
READ: Final = _READ.format(limits=_LIMITS, still_open=_STILL_OPEN)

GIVE_BACK: Final = """
UPDATE accounts.daily_usage SET open = array_remove(open, $2), used = CASE WHEN day = $3 THEN used - 1 ELSE used END
WHERE user_id = $1 AND $2 = ANY (open)
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """For users without limits of their own; 0: no limit."""

    daily: int
    in_progress: int


UNLIMITED: Final = Limits(0, 0)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a user on `day`, as of `at`, by the clock of PostgreSQL. `open`: generations in progress."""

    at: datetime
    day: date
    used: int
    open: int
    limits: Limits

    @property
    def resets_at(self) -> datetime:
        return datetime.combine(self.day + timedelta(days=1), datetime.min.time(), UTC)

    def daily(self) -> Standing | None:
        """None without a daily limit."""
        if not self.limits.daily:
            return None
        remaining = max(0, self.limits.daily - self.used)
        reset_s = max(0.0, (self.resets_at - self.at).total_seconds())
        policy = Policy("daily", self.limits.daily, DAY_S)
        return Standing(policy, not remaining, remaining, reset_s, 0.0 if remaining else reset_s)


@dataclass(frozen=True, slots=True)
class Admission:
    """`counted`: this call counted the generation, so that its failure gives it back. `refused_by`: the limit that it
    would exceed; None: admitted, now or by an earlier call."""

    usage: Usage
    counted: bool = False
    refused_by: RefusedBy | None = None


def limits_of(settings: Settings, caller: Principal) -> Limits:
    daily = settings.rate_limit_admin_daily if caller.role == "admin" else settings.rate_limit_user_daily
    return Limits(daily, settings.in_progress_limit)


async def admit(pool: Pool, user_id: UUID, generation_id: UUID, limits: Limits, now: datetime) -> Admission:
    """Counts the generation once, however often it is called; not at all for a user without any limit. `limits`: for a
    user without limits of its own. `now`: by the clock of the ids of generations."""
    arguments = _arguments(user_id, generation_id, limits, now)
    if limits == UNLIMITED:
        usage = _usage(await _read(pool, arguments))
        if usage.limits == UNLIMITED:
            return Admission(usage)
    for _ in range(TRIES):
        with transient_errors():
            row = await pool.fetchrow(ADMIT, *arguments)
        if row is not None:
            return Admission(_usage(row), counted=True)
        row = await _read(pool, arguments)
        usage = _usage(row)
        if row["admitted"]:
            return Admission(usage)
        if refused_by := _refused_by(usage):
            return Admission(usage, refused_by=refused_by)
    raise TransientError("the limits changed at each try")


async def usage_of(pool: Pool, user_id: UUID, limits: Limits, now: datetime) -> Usage:
    return _usage(await _read(pool, _arguments(user_id, None, limits, now)))


async def give_back(pool: Pool, user_id: UUID, generation_id: UUID, admission: Admission) -> None:
    """Of a generation that was not requested after all; safe to repeat."""
    if admission.counted:
        with transient_errors():
            await pool.execute(GIVE_BACK, user_id, generation_id, admission.usage.day)


_Arguments: TypeAlias = tuple[UUID, UUID | None, int, int, UUID]


def _arguments(user_id: UUID, generation_id: UUID | None, limits: Limits, now: datetime) -> _Arguments:
    return user_id, generation_id, limits.daily, limits.in_progress, lowest_id_of(now - UNKNOWN_AFTER)


async def _read(pool: Pool, arguments: _Arguments) -> asyncpg.Record:
    with transient_errors():
        row = await pool.fetchrow(READ, *arguments)
    if row is None:
        raise BugError(f"an authenticated user has no row: {arguments[0]}")
    return row


def _usage(row: asyncpg.Record) -> Usage:
    limits = Limits(row["daily"], row["in_progress"])
    return Usage(row["now"], row["day"], row["used"], row["open"], limits)


def _refused_by(usage: Usage) -> RefusedBy | None:
    if usage.limits.daily and usage.used >= usage.limits.daily:
        return "daily"
    return "in_progress" if usage.limits.in_progress and usage.open >= usage.limits.in_progress else None
