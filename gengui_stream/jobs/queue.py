"""Claiming job rows under a lease: when a process dies, its leases expire and another process claims its jobs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import asyncpg

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.domain.generation.state import ProviderPreference, ProviderRun
from gengui_stream.postgres.pool import Pool, transient_errors

NO_QUEUE: Final = ProviderPreference("", "", pinned=False)
"""Of every kind but `dispatch`."""

# The due jobs of several queues by their start tags, of one tag the oldest. The states of a partition without a valid
# owner may be behind the log.
CLAIM: Final = """
WITH live AS MATERIALIZED (SELECT partition FROM jobs.partition_owners WHERE valid_until > now()),
due AS (
    SELECT job.job_key FROM unnest($4::text[], $5::text[], $6::bool[]) AS queue (provider, model, pinned)
    CROSS JOIN LATERAL (
        SELECT job_key, start_tag, available_at, generation_id FROM jobs.jobs j
        WHERE kind = $1 AND j.provider = queue.provider AND j.model = queue.model AND j.pinned = queue.pinned
            AND available_at <= now() AND (leased_until IS NULL OR leased_until <= now())
            AND partition IN (SELECT partition FROM live)
        ORDER BY start_tag, available_at, generation_id LIMIT $7) AS job
    ORDER BY job.start_tag, job.available_at, job.generation_id LIMIT $7),
locked AS (
    SELECT job_key, expedited FROM jobs.jobs JOIN due USING (job_key)
    WHERE leased_until IS NULL OR leased_until <= now() FOR UPDATE OF jobs SKIP LOCKED)
UPDATE jobs.jobs j SET lease_owner = $2, leased_until = now() + $3, tries = tries + 1, expedited = false
FROM locked WHERE j.job_key = locked.job_key
RETURNING j.job_key, j.kind, j.generation_id, j.attempt, j.output_id, j.tries, locked.expedited,
    now() AS claimed_at, j.provider,
    j.model, j.pinned, j.start_tag, j.available_at, j.run_provider, j.run_job_id, j.run_endpoint_id
"""

# Skips from each queue to the next in the index, however many jobs a queue has.
QUEUES: Final = """
WITH RECURSIVE queue AS (
    (SELECT provider, model, pinned FROM jobs.jobs WHERE kind = $1 ORDER BY provider, model, pinned LIMIT 1)
    UNION ALL
    SELECT later.provider, later.model, later.pinned FROM queue CROSS JOIN LATERAL (
        SELECT provider, model, pinned FROM jobs.jobs j
        WHERE kind = $1 AND (j.provider, j.model, j.pinned) > (queue.provider, queue.model, queue.pinned)
        ORDER BY provider, model, pinned LIMIT 1) AS later)
SELECT provider, model, pinned FROM queue
"""

RENEW: Final = """
UPDATE jobs.jobs SET leased_until = now() + $3 WHERE job_key = ANY($1) AND lease_owner = $2
RETURNING job_key
"""

FINISH: Final = "DELETE FROM jobs.jobs WHERE job_key = ANY($1) AND lease_owner = $2"

FAIL: Final = """
UPDATE jobs.jobs SET available_at = now() + $3, last_error = $4, lease_owner = NULL, leased_until = NULL
WHERE job_key = $1 AND lease_owner = $2
"""

# A job that was expedited while it was claimed is due at once.
RESCHEDULE: Final = """
UPDATE jobs.jobs SET available_at = now() + make_interval(secs => CASE WHEN expedited THEN 0 ELSE given.delay END),
    lease_owner = NULL, leased_until = NULL,
    tries = CASE WHEN given.reset_tries THEN 0 ELSE tries END
FROM unnest($2::text[], $3::float8[], $4::bool[]) AS given (key, delay, reset_tries)
WHERE job_key = given.key AND lease_owner = $1
"""

EXPEDITE: Final = """
UPDATE jobs.jobs SET expedited = true, available_at = least(available_at, now())
WHERE job_key = 'reconcile:' || $1::uuid || ':' || $2::int
"""

IS_RECONCILED: Final = (
    "SELECT EXISTS (SELECT FROM jobs.jobs WHERE job_key = 'reconcile:' || $1::uuid || ':' || $2::int)"
)

RELEASE: Final = """
UPDATE jobs.jobs SET lease_owner = NULL, leased_until = NULL, tries = greatest(tries - 1, 0)
WHERE job_key = ANY($1) AND lease_owner = $2
"""

OPEN_COUNT: Final = "SELECT kind, count(*) AS open FROM jobs.jobs GROUP BY kind"


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job leased to this process. `tries` includes the current one. `expedited`: a webhook reports news.
    `claimed_at`: by PostgreSQL's clock, which also decided that the job is due. `run`: what the job is to cancel,
    whatever became of its generation."""

    key: str
    kind: JobKind
    generation_id: UUID
    attempt: int
    output_id: str | None
    tries: int
    expedited: bool
    claimed_at: datetime
    queue: ProviderPreference = NO_QUEUE
    run: ProviderRun | None = None


class JobQueue(Protocol):
    """The jobs of one kind, for one process.

    Every method raises TransientError while the queue is unavailable. A lease that could not be renewed or finished
    expires, and another process repeats the job: handlers must be idempotent. Jobs of partitions whose projections
    have not caught up with the log are not claimed.
    """

    async def claim(self, limit: int, queues: Collection[ProviderPreference] = (NO_QUEUE,)) -> list[ClaimedJob]:
        """Leases at most `limit` due jobs of these queues together; empty when none is due. Dispatches come in the
        order of their start tags, which alternate between owners, and of one tag the oldest first; others the oldest
        first."""
        ...

    async def queues(self) -> Sequence[ProviderPreference]:
        """The queues that have jobs, due or not, in order."""
        ...

    async def renew(self, keys: Collection[str]) -> set[str]:
        """Extends the leases; returns the keys that this process still holds."""
        ...

    async def finish(self, keys: Collection[str]) -> None:
        """Removes the jobs. Their outcome is on the log."""
        ...

    async def reschedule(self, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        """Makes the jobs due again after the delay in seconds, by key, without recording an error. The tries of those
        in `reset_tries` start from zero: they only waited."""
        ...

    async def reschedule_after_error(self, key: str, delay_seconds: float, error: str) -> None:
        """Releases the job with its error; it can be claimed again after the delay."""
        ...

    async def release(self, keys: Collection[str]) -> None:
        """Ends the leases of jobs that this process has not finished: another process can claim them at once, and this
        try does not count."""
        ...


class PostgresJobQueue:
    """The table `jobs.jobs`. `owner` identifies the lease holder and is unique for each process start."""

    def __init__(self, pool: Pool, kind: JobKind, *, owner: str, lease_seconds: float) -> None:
        self._pool = pool
        self._kind = kind
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)

    async def claim(self, limit: int, queues: Collection[ProviderPreference] = (NO_QUEUE,)) -> list[ClaimedJob]:
        columns = map(list, zip(*queues, strict=True))
        with transient_errors():
            rows = await self._pool.fetch(CLAIM, self._kind, self._owner, self._lease, *columns, limit)
        rows.sort(key=lambda row: (row["start_tag"], row["available_at"], row["generation_id"]))
        return [_claimed(row) for row in rows]

    async def queues(self) -> Sequence[ProviderPreference]:
        with transient_errors():
            return [ProviderPreference(*row) for row in await self._pool.fetch(QUEUES, self._kind)]

    async def renew(self, keys: Collection[str]) -> set[str]:
        with transient_errors():
            rows = await self._pool.fetch(RENEW, list(keys), self._owner, self._lease)
        return {row["job_key"] for row in rows}

    async def finish(self, keys: Collection[str]) -> None:
        with transient_errors():
            await self._pool.execute(FINISH, list(keys), self._owner)

    async def reschedule(self, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        with transient_errors():
            resets = [key in reset_tries for key in delays]
            await self._pool.execute(RESCHEDULE, self._owner, list(delays), list(delays.values()), resets)

    async def reschedule_after_error(self, key: str, delay_seconds: float, error: str) -> None:
        with transient_errors():
            delay = timedelta(seconds=delay_seconds)
            await self._pool.execute(FAIL, key, self._owner, delay, error[:2000])

    async def release(self, keys: Collection[str]) -> None:
        with transient_errors():
            await self._pool.execute(RELEASE, list(keys), self._owner)


def _claimed(row: asyncpg.Record) -> ClaimedJob:
    return ClaimedJob(
        key=row["job_key"],
        kind=row["kind"],
        generation_id=row["generation_id"],
        attempt=row["attempt"],
        output_id=row["output_id"],
        tries=row["tries"],
        expedited=row["expedited"],
        claimed_at=row["claimed_at"],
        queue=ProviderPreference(row["provider"], row["model"], row["pinned"]),
        run=ProviderRun(row["run_provider"], row["run_job_id"], row["run_endpoint_id"]) if row["run_job_id"] else None,
    )


async def expedite_reconcile(pool: Pool, generation_id: UUID, attempt: int) -> None:
    """Makes the attempt's `reconcile` job due at once, and again if it is claimed. Raises TransientError while
    PostgreSQL is unavailable."""
    with transient_errors():
        await pool.execute(EXPEDITE, generation_id, attempt)


async def is_reconciled(pool: Pool, generation_id: UUID, attempt: int) -> bool:
    """Whether the attempt has a `reconcile` job. Raises TransientError while PostgreSQL is unavailable."""
    with transient_errors():
        return bool(await pool.fetchval(IS_RECONCILED, generation_id, attempt))


async def open_jobs(pool: Pool) -> dict[str, int]:
    """The number of unfinished jobs of each kind."""
    with transient_errors():
        return {row["kind"]: row["open"] for row in await pool.fetch(OPEN_COUNT)}
