"""Claiming job rows under a lease: when a process dies, its leases expire and another process claims its jobs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.postgres.pool import Pool, transient_errors

CLAIM: Final = """
WITH due AS (
    SELECT job_key, expedited FROM jobs.jobs WHERE kind = $1 AND outcome IS NULL AND available_at <= now()
    ORDER BY available_at LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE jobs.jobs SET lease_owner = $2, available_at = now() + $3, tries = tries + 1, expedited = false
FROM due WHERE jobs.job_key = due.job_key
RETURNING jobs.job_key, kind, generation_id, attempt, output_id, tries, due.expedited
"""

RENEW: Final = """
UPDATE jobs.jobs SET available_at = now() + $3 WHERE job_key = ANY($1) AND lease_owner = $2 AND outcome IS NULL
RETURNING job_key
"""

FINISH: Final = """
UPDATE jobs.jobs SET outcome = $3, last_error = $4, finished_at = now(), lease_owner = NULL
WHERE job_key = ANY($1) AND lease_owner = $2 AND outcome IS NULL
"""

RELEASE: Final = """
UPDATE jobs.jobs SET available_at = now() + $3, last_error = $4, lease_owner = NULL
WHERE job_key = $1 AND lease_owner = $2 AND outcome IS NULL
"""

# The reconcile job is created by the statement that finishes the dispatch job, so that no running attempt is without
# one.
FINISH_AND_RECONCILE: Final = """
WITH finished AS (
    UPDATE jobs.jobs SET outcome = 'done', last_error = NULL, finished_at = now(), lease_owner = NULL
    FROM unnest($2::text[], $3::float8[]) AS given (key, delay)
    WHERE job_key = given.key AND lease_owner = $1 AND outcome IS NULL
    RETURNING generation_id, attempt, delay)
INSERT INTO jobs.jobs (job_key, kind, generation_id, attempt, available_at)
SELECT 'reconcile:' || generation_id || ':' || attempt, 'reconcile', generation_id, attempt,
    now() + make_interval(secs => delay)
FROM finished ON CONFLICT (job_key) DO NOTHING
"""

# A job that was expedited while it was claimed is due at once.
RESCHEDULE: Final = """
UPDATE jobs.jobs SET available_at = now() + make_interval(secs => CASE WHEN expedited THEN 0 ELSE given.delay END),
    lease_owner = NULL,
    tries = CASE WHEN given.reset_tries THEN 0 ELSE tries END
FROM unnest($2::text[], $3::float8[], $4::bool[]) AS given (key, delay, reset_tries)
WHERE job_key = given.key AND lease_owner = $1 AND outcome IS NULL
"""

# A provider may finish before the call that started the attempt is settled: the reconcile job is then created here,
# with a short delay in which the dispatcher can append its events. A claimed job keeps its lease and is due again when
# it ends.
EXPEDITE: Final = """
INSERT INTO jobs.jobs (job_key, kind, generation_id, attempt, available_at, expedited)
SELECT 'reconcile:' || generation_id || ':' || attempt, 'reconcile', generation_id, attempt, now() + interval '500
    ms', true
FROM jobs.jobs WHERE job_key = 'dispatch:' || $1::uuid || ':' || $2::int
ON CONFLICT (job_key) DO UPDATE SET expedited = true,
    available_at = CASE WHEN jobs.lease_owner IS NULL THEN now() ELSE jobs.available_at END
WHERE jobs.outcome IS NULL
RETURNING job_key
"""

OPEN_COUNT: Final = "SELECT kind, count(*) AS open FROM jobs.jobs WHERE outcome IS NULL GROUP BY kind"


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job leased to this process. `tries` includes the current one. `expedited`: a webhook reports news."""

    key: str
    kind: JobKind
    generation_id: UUID
    attempt: int
    output_id: str | None
    tries: int
    expedited: bool = False


class JobQueue:
    """The jobs of one kind, for one process. `owner` identifies the lease holder and is unique for each process start.

    Every method raises TransientError while PostgreSQL is unavailable. A lease that could not be renewed or finished
    expires, and another process repeats the job: handlers must be idempotent.
    """

    def __init__(self, pool: Pool, kind: JobKind, *, owner: str, lease_seconds: float) -> None:
        self._pool = pool
        self._kind = kind
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)

    async def claim(self, limit: int) -> list[ClaimedJob]:
        """Leases at most `limit` due jobs, oldest first; empty when none is due."""
        with transient_errors():
            rows = await self._pool.fetch(CLAIM, self._kind, self._owner, self._lease, limit)
        return [ClaimedJob(*row) for row in rows]

    async def renew(self, keys: Collection[str]) -> set[str]:
        """Extends the leases; returns the keys that this process still holds."""
        with transient_errors():
            rows = await self._pool.fetch(RENEW, list(keys), self._owner, self._lease)
        return {row["job_key"] for row in rows}

    async def finish(self, keys: Collection[str]) -> None:
        """Marks the jobs as done. Their outcome is on the log."""
        with transient_errors():
            await self._pool.execute(FINISH, list(keys), self._owner, "done", None)

    async def finish_and_reconcile(self, delays: Mapping[str, float]) -> None:
        """Marks the jobs as done, and creates a `reconcile` job of the same attempt, due after the delay in seconds, by
        key."""
        with transient_errors():
            await self._pool.execute(FINISH_AND_RECONCILE, self._owner, list(delays), list(delays.values()))

    async def reschedule(self, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        """Makes the jobs due again after the delay in seconds, by key, without recording an error. The tries of those
        in `reset_tries` start from zero: they only waited."""
        with transient_errors():
            resets = [key in reset_tries for key in delays]
            await self._pool.execute(RESCHEDULE, self._owner, list(delays), list(delays.values()), resets)

    async def fail(self, key: str, error: str) -> None:
        """Gives the job up; the error stays in its row."""
        with transient_errors():
            await self._pool.execute(FINISH, [key], self._owner, "failed", error[:2000])

    async def reschedule_after_error(self, key: str, delay_seconds: float, error: str) -> None:
        """Releases the job with its error; it can be claimed again after the delay."""
        with transient_errors():
            delay = timedelta(seconds=delay_seconds)
            await self._pool.execute(RELEASE, key, self._owner, delay, error[:2000])


async def expedite_reconcile(pool: Pool, generation_id: UUID, attempt: int) -> bool:
    """Makes the attempt's `reconcile` job due at once. False when there is none to reconcile (any more). Raises
    TransientError while PostgreSQL is unavailable."""
    with transient_errors():
        return await pool.fetchval(EXPEDITE, generation_id, attempt) is not None


async def open_jobs(pool: Pool) -> dict[str, int]:
    """The number of unfinished jobs of each kind."""
    with transient_errors():
        return {row["kind"]: row["open"] for row in await pool.fetch(OPEN_COUNT)}
