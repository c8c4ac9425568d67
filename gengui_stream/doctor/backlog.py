"""Checks of the backlog: unclaimed and failing jobs, generations past their deadline, projection lag, dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gengui_stream.bridge import messages
from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.logging import redact_text
from gengui_stream.postgres.pool import opened_pool, transient_errors
from gengui_stream.providers.local import redis_keys
from gengui_stream.recovery.generations.drift import Drift, drifted
from gengui_stream.recovery.lag import PartitionLag, measure_lag
from gengui_stream.redis_io.inspection import count_entries
from gengui_stream.redis_io.shared import opened_redis

OVERDUE: Final = timedelta(seconds=30)
"""A process claims a job within a second of its due time."""

OVERDUE_END: Final = timedelta(seconds=60)
TRIES_WARN: Final = 3
LAG_WARN_S: Final = 10.0
LAG_FAIL_S: Final = 60.0
DRIFT_SHOWN: Final = 3

JOBS: Final = """
SELECT kind, count(*) AS open,
  count(*) FILTER (WHERE available_at < now() - $1::interval AND coalesce(leased_until, now()) <= now()) AS overdue,
  extract(epoch FROM now() - min(available_at))::float8 AS oldest_s, max(tries) AS tries,
  (array_agg(last_error ORDER BY tries DESC) FILTER (WHERE last_error IS NOT NULL))[1] AS error
FROM jobs.jobs GROUP BY kind ORDER BY kind
"""

BEYOND_DEADLINE: Final = """
SELECT count(DISTINCT j.generation_id) FROM jobs.jobs j
JOIN projections.generation_states s USING (generation_id) JOIN projections.generation_requests r USING (generation_id)
WHERE j.kind <> 'thumbnail' AND s.ended_at IS NULL AND r.deadline < now() - $1::interval
"""

OPEN_LETTERS: Final = """
SELECT count(*) FILTER (WHERE reason <> 'parked') AS dead, count(*) FILTER (WHERE reason = 'parked') AS parked
FROM projections.dead_letters WHERE topic = $1 AND resolution IS NULL
"""

ROLE_OF: Final = {"thumbnail": "thumbnails"}
"""The roles by kind of job; `dispatch` does the other kinds."""


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """`overdue`: due for longer than OVERDUE and not claimed. `tries`: the maximum; `error`: the last error of a job
    with that many."""

    kind: str
    open: int
    overdue: int
    oldest_s: float
    tries: int
    error: str | None


async def check_jobs(context: Context) -> list[Finding]:
    async with opened_pool(context.settings, size=1) as pool:
        with transient_errors():
            rows = await pool.fetch(JOBS, OVERDUE)
            late = await pool.fetchval(BEYOND_DEADLINE, OVERDUE_END)
    return [*evaluate_jobs([OpenJobs(**dict(row)) for row in rows]), _generations(int(late or 0))]


def evaluate_jobs(found: Sequence[OpenJobs]) -> list[Finding]:
    """Pure."""
    return [_jobs(jobs) for jobs in found] or [ok("jobs", "none open")]


def _jobs(jobs: OpenJobs) -> Finding:
    name, role = f"jobs.{jobs.kind}", ROLE_OF.get(jobs.kind, "dispatch")
    symptom = "Thumbnails not generating" if jobs.kind == "thumbnail" else "Job stuck"
    if jobs.overdue:
        detail = f"{symptom}: {jobs.overdue} jobs are due and not claimed, for up to {jobs.oldest_s:.0f} s"
        return fail(name, detail, f"start `gengui-stream {role}`; if it runs, its log says what it waits for")
    if jobs.tries >= TRIES_WARN and jobs.error:
        detail = f"{jobs.open} open; tried {jobs.tries} times: {redact_text(jobs.error)[:200]}"
        return warn(name, detail, f"see the log of `gengui-stream {role}`, and `gengui-stream events show ID`")
    return ok(name, f"{jobs.open} open")


def _generations(late: int) -> Finding:
    if late:
        remedy = "start `gengui-stream dispatch` and `gengui-stream agents`: they end generations past their deadline"
        return fail("generations", f"{late} are past their deadline and have not ended", remedy)
    return ok("generations", "none past its deadline")


async def check_lag(context: Context) -> list[Finding]:
    async with opened_pool(context.settings, size=1) as pool:
        lags = await measure_lag(context.settings, pool)
    return [evaluate_lag(lags), *evaluate_pauses(lags)]


def evaluate_lag(lags: Sequence[PartitionLag]) -> Finding:
    """Pure. Paused partitions have a finding of their own."""
    going = [lag for lag in lags if lag.pause is None]
    events, seconds = sum(lag.events for lag in going), max((lag.seconds for lag in going), default=0.0)
    detail = f"{events} events behind the log, the oldest for {seconds:.0f} s"
    remedy = "start `gengui-stream agents`; if it runs, its log says why it makes no progress"
    if seconds > LAG_FAIL_S:
        return fail("projections.lag", detail, remedy)
    return warn("projections.lag", detail, remedy) if seconds > LAG_WARN_S else ok("projections.lag", detail)


def evaluate_pauses(lags: Sequence[PartitionLag]) -> list[Finding]:
    """Pure."""
    found = [(lag, lag.pause) for lag in lags if lag.pause is not None]
    return [
        warn(
            "projections.paused",
            f"partition {lag.partition} is paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.operator}: "
            f"{pause.reason}; {lag.events} events wait",
            f"`gengui-stream resume {lag.partition}`, once the reason has passed",
        )
        for lag, pause in found
    ]


async def check_determinism(context: Context) -> list[Finding]:
    async with opened_pool(context.settings, size=1) as pool:
        return [evaluate_determinism(*await drifted(pool, context.settings.events_topic, DRIFT_SHOWN))]


def evaluate_determinism(number: int, first: Sequence[Drift]) -> Finding:
    """Pure."""
    if not number:
        return ok("projections.determinism", "no generation was found to differ from its events")
    shown = "; ".join(f"{one.generation_id} ({one.difference[:200]})" for one in first)
    remedy = "`gengui-stream repair ID --dry-run`, then without; `gengui-stream verify` finds all there are"
    return fail("projections.determinism", f"{number} generations differ from their events: {shown}", remedy)


async def check_dead_letters(context: Context) -> list[Finding]:
    async with opened_pool(context.settings, size=1) as pool:
        with transient_errors():
            row = await pool.fetchrow(OPEN_LETTERS, context.settings.events_topic)
    return [evaluate_dead_letters(row["dead"], row["parked"])] if row else []


def evaluate_dead_letters(dead: int, parked: int) -> Finding:
    """Pure."""
    if not dead:
        return ok("dead_letters.log", "none")
    remedy = "`gengui-stream dead-letters list`, then retry or discard each"
    return warn("dead_letters.log", f"{dead}, and {parked} events parked behind them", remedy)


async def check_dead_entries(context: Context) -> list[Finding]:
    """The dead-letter streams of workers and the bridge on Redis."""
    streams = (redis_keys.DEAD_STREAM, messages.DEAD_STREAM)
    async with opened_redis(context.settings) as redis:
        counts = {stream: await count_entries(redis, stream) for stream in streams}
    dead = [f"{number} in {stream}" for stream, number in counts.items() if number]
    if not dead:
        return [ok("dead_letters.redis", "none")]
    remedy = "a worker wrote invalid messages: `gengui-stream dead-statuses list`, then retry or discard each"
    if counts[redis_keys.DEAD_STREAM]:
        remedy += f"; read {redis_keys.DEAD_STREAM} with XRANGE, and remove it with DEL"
    return [warn("dead_letters.redis", ", ".join(dead), remedy)]
