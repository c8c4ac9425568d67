"""The jobs that a batch creates, inserted with the read models and nowhere else (law 5)."""

from collections.abc import Iterable
from typing import Final

from gengui_stream.domain.generation.jobs import Job, jobs_for
from gengui_stream.postgres.bulk import Write
from gengui_stream.projections.outcomes import Outcome, transitions

INSERT: Final = """
INSERT INTO jobs.jobs (job_key, kind, generation_id, attempt, output_id, available_at)
SELECT key, kind, generation_id, attempt, output_id, least(now() + make_interval(secs => delay), not_after)
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::int[], $5::text[], $6::float8[], $7::timestamptz[])
    AS new (key, kind, generation_id, attempt, output_id, delay, not_after)
ON CONFLICT (job_key) DO NOTHING
"""


def jobs_of(outcomes: Iterable[Outcome]) -> list[Job]:
    return [job for outcome in transitions(outcomes) for job in jobs_for(outcome.before, outcome.after)]


def write(jobs: Iterable[Job]) -> Write:
    rows = [
        (job.key, job.kind, job.generation_id, job.attempt, job.output_id, job.delay_seconds, job.not_after)
        for job in jobs
    ]
    return Write(INSERT, rows)
