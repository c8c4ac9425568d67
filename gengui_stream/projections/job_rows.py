"""The rows of `jobs.jobs`, written with the read models and nowhere else (law 5)."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.domain.generation.jobs import (
    Job,
    JobTimings,
    due_jobs,
    late_run,
    new_jobs,
    obsolete_keys,
    superseded_run,
)
from gengui_stream.log.codec import UnknownType
from gengui_stream.postgres.bulk import Write, execute_writes
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.projections.outcomes import Applied, Ignored, Outcome, transitions

Row: TypeAlias = tuple[object, ...]

# Start-time fair queueing (Goyal, Vin and Cheng, 1996) with jobs of one size, by preferred provider. `heads`: of each
# queue the first start tag, which is its virtual time, and the last one. A first attempt gets the tag after the last
# one of its owner, and none before the virtual time: one user's thousand jobs take a thousand tags, another's first job
# the virtual time itself. So does a later attempt, which has waited before. Projectors of several partitions do not see
# each other's rows, so an owner may have as many jobs of one tag as there are projectors.
# The state of an open attempt brings its `reconcile` job forward; nothing else changes an existing job.
UPSERT: Final = """
WITH RECURSIVE new AS (
    SELECT *, row_number() OVER (PARTITION BY kind, provider, owner_id, attempt > 1 ORDER BY number) - 1 AS nth
    FROM unnest($1::text[], $2::text[], $3::smallint[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[],
        $9::bool[], $10::uuid[], $11::float8[], $12::timestamptz[], $13::text[], $14::text[], $15::text[])
        WITH ORDINALITY AS given (key, kind, partition, generation_id, attempt, output_id, provider, model, pinned,
            owner_id, delay, not_after, run_provider, run_job_id, run_endpoint_id, number)),
providers AS MATERIALIZED (SELECT DISTINCT provider FROM new WHERE kind = 'dispatch'),
queues AS (
    SELECT first.* FROM providers p CROSS JOIN LATERAL (
        SELECT provider, model, pinned FROM jobs.jobs j WHERE kind = 'dispatch' AND j.provider = p.provider
        ORDER BY model, pinned LIMIT 1) AS first
    UNION ALL
    SELECT later.* FROM queues CROSS JOIN LATERAL (
        SELECT provider, model, pinned FROM jobs.jobs j
        WHERE kind = 'dispatch' AND j.provider = queues.provider AND (j.model, j.pinned) > (queues.model, queues.pinned)
        ORDER BY model, pinned LIMIT 1) AS later),
heads AS MATERIALIZED (
    SELECT provider, model, pinned,
        (SELECT start_tag FROM jobs.jobs j
            WHERE kind = 'dispatch' AND j.provider = q.provider AND j.model = q.model AND j.pinned = q.pinned
                AND available_at <= now() AND (leased_until IS NULL OR leased_until <= now())
            ORDER BY start_tag, available_at, generation_id LIMIT 1) AS start_tag,
        (SELECT start_tag FROM jobs.jobs j
            WHERE kind = 'dispatch' AND j.provider = q.provider AND j.model = q.model AND j.pinned = q.pinned
            ORDER BY start_tag DESC LIMIT 1) AS last_tag
    FROM queues q),
owners AS MATERIALIZED (
    SELECT provider, owner_id, clock.start_tag AS virtual_time, (SELECT max(start_tag) + 1 FROM jobs.jobs j
        WHERE kind = 'dispatch' AND j.provider = p.provider AND j.owner_id = p.owner_id) AS next
    FROM (SELECT DISTINCT provider, owner_id FROM new WHERE kind = 'dispatch') AS p
    LEFT JOIN (
        SELECT provider, coalesce(max(start_tag), max(last_tag)) AS start_tag FROM heads GROUP BY provider) AS clock
        USING (provider))
INSERT INTO jobs.jobs AS j (job_key, kind, partition, generation_id, attempt, output_id, provider, model, pinned,
    owner_id, start_tag, available_at, run_provider, run_job_id, run_endpoint_id)
SELECT key, kind, partition, generation_id, attempt, output_id, coalesce(provider, ''), coalesce(model, ''),
    coalesce(pinned, false), owner_id,
    CASE WHEN kind <> 'dispatch' THEN 0 WHEN attempt > 1 THEN coalesce(heads.start_tag, owners.virtual_time, 0)
        ELSE greatest(coalesce(heads.start_tag, owners.virtual_time, 0), owners.next) + nth END,
    least(now() + make_interval(secs => delay), not_after), run_provider, run_job_id, run_endpoint_id
FROM new LEFT JOIN heads USING (provider, model, pinned) LEFT JOIN owners USING (provider, owner_id)
ON CONFLICT (job_key) DO UPDATE SET available_at = EXCLUDED.available_at
WHERE j.kind = 'reconcile' AND EXCLUDED.available_at < j.available_at
"""

DELETE: Final = "DELETE FROM jobs.jobs USING unnest($1::text[]) AS gone (key) WHERE job_key = gone.key"

PAGE: Final = 1_000

# Precise by the keys: what changed while the partition caught up has made no jobs and removed none, so a generation may
# have some of its jobs. A missing thumbnail of several is found once the others of its generation are made.
LACKING_JOBS: Final = """
SELECT generation_id FROM projections.generation_states s
WHERE partition = $1 AND NOT settled AND generation_id > $2 AND (
    EXISTS (
        SELECT FROM (VALUES
            ('reconcile', s.status <> 'completed'),
            ('dispatch', s.status = 'queued'),
            ('cancel', s.status IN ('dispatched', 'processing') AND s.cancel_requested),
            ('deletion', s.status = 'completed' AND s.deleted_at IS NOT NULL)) AS job (kind, is_due)
        WHERE is_due AND NOT EXISTS (
            SELECT FROM jobs.jobs j WHERE j.job_key = job.kind || ':' || s.generation_id || ':' || s.attempt))
    OR s.status = 'completed' AND s.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM jobs.jobs j WHERE j.generation_id = s.generation_id AND j.kind = 'thumbnail'))
ORDER BY generation_id LIMIT $3
"""

EXISTING: Final = "SELECT job_key FROM jobs.jobs WHERE job_key = ANY($1)"

# Only the handler knows whether something of such an attempt still runs at its provider.
EXPEDITE_ENDED: Final = """
UPDATE jobs.jobs j SET available_at = now() FROM projections.generation_states s
WHERE j.partition = $1 AND j.kind = 'reconcile' AND j.available_at > now() AND s.generation_id = j.generation_id
    AND (s.attempt <> j.attempt OR s.status NOT IN ('queued', 'dispatched', 'processing'))
"""


RUNNING: Final = """
SELECT generation_id FROM projections.generation_states
WHERE partition = $1 AND NOT settled AND generation_id > $2 AND status IN ('dispatched', 'processing')
ORDER BY generation_id LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class JobChanges:
    """`made`: new or brought forward. `obsolete`: the keys of jobs that no state calls for any more."""

    made: Sequence[Job] = ()
    obsolete: Sequence[str] = ()


def run_to_cancel(outcome: Outcome) -> Job | None:
    """The job that cancels a run which nothing else knows any more."""
    match outcome:
        case Applied(_, event, before, after):
            return superseded_run(before, after, event)
        case Ignored(_, event, state, reason) if event.type == "generation.accepted":
            return None if isinstance(event, UnknownType) else late_run(state, event, reason)
        case _:
            return None


def changes_of(outcomes: Sequence[Outcome], timings: JobTimings) -> JobChanges:
    """The net changes of a batch: a job that it makes and ends is in neither."""
    made: dict[str, Job] = {}
    obsolete: dict[str, None] = {}
    for outcome in transitions(outcomes):
        for key in obsolete_keys(outcome.before, outcome.after):
            made.pop(key, None)
            obsolete[key] = None
        made.update((job.key, job) for job in new_jobs(outcome.before, outcome.after, timings))
    made.update((job.key, job) for outcome in outcomes if (job := run_to_cancel(outcome)) is not None)
    return JobChanges(tuple(made.values()), tuple(obsolete))


def write(made: Iterable[Job], partition: int) -> Write:
    return Write(UPSERT, [_row(job, partition) for job in made])


def write_obsolete(keys: Iterable[str]) -> Write:
    return Write(DELETE, [(key,) for key in keys])


def _row(job: Job, partition: int) -> Row:
    queue = job.queue or (None, None, None)
    subject = (job.key, job.kind, partition, job.generation_id, job.attempt, job.output_id)
    run = job.run or (None, None, None)
    return (*subject, *queue, job.owner_id, job.delay_seconds, job.not_after, *run)


async def make_missing(pool: Pool, partition: int, timings: JobTimings) -> int:
    """Makes the jobs that states of the partition call for and that do not exist; returns their number. Safe to
    repeat, and beside the projector: a job that the state no longer calls for is dropped by its handler."""
    made = 0
    with transient_errors():
        async with pool.acquire() as connection:
            async for due in _due_jobs(connection, LACKING_JOBS, partition, timings):
                jobs = await _missing(connection, due)
                await execute_writes(connection, [write(jobs, partition)])
                made += len(jobs)
    return made


async def bring_forward(pool: Pool, partition: int, timings: JobTimings) -> None:
    """Makes the `reconcile` jobs of attempts that run due after their first silence: they were due at the deadline if
    the attempt was dispatched while the partition caught up."""
    with transient_errors():
        async with pool.acquire() as connection:
            async for due in _due_jobs(connection, RUNNING, partition, timings):
                await execute_writes(connection, [write((job for job in due if job.kind == "reconcile"), partition)])


async def _due_jobs(
    connection: Connection, generations: str, partition: int, timings: JobTimings
) -> AsyncIterator[Sequence[Job]]:
    """The jobs that the states of these generations call for, by page. `generations`: LACKING_JOBS or RUNNING."""
    after = UUID(int=0)
    while ids := [row["generation_id"] for row in await connection.fetch(generations, partition, after, PAGE)]:
        states = await generation_states.load(connection, ids, partition=partition)
        yield [job for state in states.values() for job in due_jobs(state, timings)]
        after = ids[-1]


async def _missing(connection: Connection, due: Sequence[Job]) -> Sequence[Job]:
    existing = {row["job_key"] for row in await connection.fetch(EXISTING, [job.key for job in due])}
    return [job for job in due if job.key not in existing]


async def expedite_ended(pool: Pool, partition: int) -> None:
    """Makes the `reconcile` jobs of attempts that have ended due at once: the transitions that end an attempt while the
    partition catches up remove no job."""
    with transient_errors():
        await pool.execute(EXPEDITE_ENDED, partition)
