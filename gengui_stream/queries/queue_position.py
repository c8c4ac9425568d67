"""Queue positions and estimated starts, from a snapshot of all generations that have not started.

Those that were handed over to a provider, and not reported as started, come first: its internal queue is not visible.
The others follow in the order in which they will be handed over, by fair share between owners.
"""

import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections.provider_statistics import BUCKETS_MS, MORE

COUNTED_MAX: Final = 10_000
"""Generations counted from the front of each queue; further positions are a lower bound. So many rows of a queue are
read, however long it is."""

KEPT_S: Final = 1.0
LATELY: Final = timedelta(minutes=15)
"""The estimate uses the runs that completed within this time; without any there is no estimate."""

# Skips in the index from each provider to the next, and reads the front of each queue in the index's order: by id,
# which sorts by its creation. With ids of another kind the front may differ beyond COUNTED_MAX.
HANDED_OVER: Final = """
WITH RECURSIVE queue AS (
    (SELECT provider FROM projections.generation_states WHERE NOT settled AND started_at IS NULL
        ORDER BY provider LIMIT 1)
    UNION ALL
    SELECT later.provider FROM queue CROSS JOIN LATERAL (
        SELECT s.provider FROM projections.generation_states s
        WHERE NOT settled AND started_at IS NULL AND s.provider > queue.provider ORDER BY s.provider LIMIT 1) AS later)
SELECT queue.provider, waiting.generation_id FROM queue CROSS JOIN LATERAL (
    SELECT s.generation_id, s.status FROM projections.generation_states s
    WHERE NOT settled AND started_at IS NULL AND s.provider = queue.provider
    ORDER BY s.provider, s.generation_id LIMIT $1) AS waiting
WHERE status = 'dispatched'
"""

# The same for the jobs of each queue, in the order of their claims. LIMIT 1 keeps the planner from reading every state;
# a job outlives the start of its attempt for a moment.
JOBS: Final = """
WITH RECURSIVE queue AS (
    (SELECT provider, model, pinned FROM jobs.jobs WHERE kind = 'dispatch' ORDER BY provider, model, pinned LIMIT 1)
    UNION ALL
    SELECT later.* FROM queue CROSS JOIN LATERAL (
        SELECT provider, model, pinned FROM jobs.jobs j
        WHERE kind = 'dispatch' AND (j.provider, j.model, j.pinned) > (queue.provider, queue.model, queue.pinned)
        ORDER BY provider, model, pinned LIMIT 1) AS later)
SELECT queue.provider, job.start_tag, job.available_at, job.generation_id, job.owner_id FROM queue CROSS JOIN LATERAL (
    SELECT start_tag, available_at, generation_id, owner_id FROM jobs.jobs j
    WHERE kind = 'dispatch' AND j.provider = queue.provider AND j.model = queue.model AND j.pinned = queue.pinned
    ORDER BY start_tag, available_at, generation_id LIMIT $1) AS job
CROSS JOIN LATERAL (
    SELECT started_at FROM projections.generation_states WHERE generation_id = job.generation_id LIMIT 1) AS state
WHERE state.started_at IS NULL
"""

# The newest first: those before them have ended, and wait for their thumbnails.
RUNNING: Final = """
WITH RECURSIVE queue AS (
    (SELECT provider FROM projections.generation_states WHERE NOT settled AND started_at IS NOT NULL
        ORDER BY provider LIMIT 1)
    UNION ALL
    SELECT later.provider FROM queue CROSS JOIN LATERAL (
        SELECT s.provider FROM projections.generation_states s
        WHERE NOT settled AND started_at IS NOT NULL AND s.provider > queue.provider
        ORDER BY s.provider LIMIT 1) AS later)
SELECT queue.provider, count(*) FILTER (WHERE started.ended_at IS NULL) AS running FROM queue CROSS JOIN LATERAL (
    SELECT s.ended_at FROM projections.generation_states s
    WHERE NOT settled AND started_at IS NOT NULL AND s.provider = queue.provider
    ORDER BY s.provider DESC, s.generation_id DESC LIMIT $1) AS started
GROUP BY queue.provider
"""

RUNS: Final = """
SELECT provider, at_most_ms, sum(completions)::bigint AS runs FROM projections.provider_latencies WHERE minute >= $1
GROUP BY provider, at_most_ms
"""


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """`position`: 1 is next; `at_least`: the true position may be higher. `starts_in_s`: None without recent runs to
    estimate from."""

    position: int
    at_least: bool
    starts_in_s: float | None


class QueuedJob(NamedTuple):
    """One that was not handed over yet. They sort as they are claimed."""

    start_tag: int
    available_at: datetime
    generation_id: UUID
    owner_id: UUID | None


@dataclass(frozen=True, slots=True)
class ProviderQueue:
    """`positions`: from 1, of the counted generations. `handed_over`: the number of those at the provider.
    `start_tags`: of the others, in order. `last_tags`: by owner."""

    positions: Mapping[UUID, int] = field(default_factory=dict)
    handed_over: int = 0
    start_tags: Sequence[int] = ()
    last_tags: Mapping[UUID | None, int] = field(default_factory=dict)

    def position_of(self, generation_id: UUID, owner_id: UUID) -> int:
        """One that was requested since has the tag after its owner's last one, and none before the first."""
        known = self.positions.get(generation_id)
        if known is not None:
            return known
        virtual_time = self.start_tags[0] if self.start_tags else 0
        start_tag = max(virtual_time, self.last_tags.get(owner_id, -1) + 1)
        return self.handed_over + bisect_right(self.start_tags, start_tag) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """The queues at one moment, by provider. `cut`: the providers whose queue is longer."""

    taken_at: datetime
    queues: Mapping[str, ProviderQueue] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    run_s: Mapping[str, float] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()

    def position_of(self, provider: str, generation_id: UUID, owner_id: UUID) -> QueuePosition:
        """Also of a generation that was requested after the snapshot."""
        queue = self.queues.get(provider, ProviderQueue())
        position = queue.position_of(generation_id, owner_id)
        behind_all = position > len(queue.positions)
        return QueuePosition(position, behind_all and provider in self.cut, self._starts_in_s(provider, position))

    def _starts_in_s(self, provider: str, position: int) -> float | None:
        """Assumes that as many attempts keep running side by side as now; when none runs, that the first starts at
        once."""
        run_s, running = self.run_s.get(provider), self.running.get(provider, 0)
        if run_s is None:
            return None
        return round(run_s * (position / running if running else position - 1), 1)


def snapshot_of(
    handed_over: Iterable[tuple[str, UUID]],
    jobs: Iterable[tuple[str, QueuedJob]],
    running: Mapping[str, int],
    runs: Iterable[tuple[str, int, int]],
    taken_at: datetime,
) -> QueueSnapshot:
    """Pure. `handed_over`: in order; `jobs`: in any order; `runs`: provider, upper bound of a bucket in milliseconds,
    number of runs."""
    first: defaultdict[str, dict[UUID, None]] = defaultdict(dict)
    for provider, generation_id in handed_over:
        first[provider][generation_id] = None
    others: defaultdict[str, list[QueuedJob]] = defaultdict(list)
    for provider, job in jobs:
        if job.generation_id not in first[provider]:  # its job is about to be finished
            others[provider].append(job)
    queues = {provider: _queue(list(ids), sorted(others[provider])) for provider, ids in first.items()}
    cut = frozenset(name for name, queue in queues.items() if len(queue.positions) >= COUNTED_MAX)
    return QueueSnapshot(taken_at=taken_at, queues=queues, running=running, run_s=_mean_s(runs), cut=cut)


def _queue(handed_over: Sequence[UUID], jobs: Sequence[QueuedJob]) -> ProviderQueue:
    ids = [*handed_over, *(job.generation_id for job in jobs)]
    return ProviderQueue(
        positions={generation_id: number for number, generation_id in enumerate(ids, start=1)},
        handed_over=len(handed_over),
        start_tags=[job.start_tag for job in jobs],
        last_tags={job.owner_id: job.start_tag for job in jobs},
    )


def _mean_s(runs: Iterable[tuple[str, int, int]]) -> dict[str, float]:
    """The mean of a histogram, in seconds by provider: each run counts as the middle of its bucket."""
    number: defaultdict[str, int] = defaultdict(int)
    milliseconds: defaultdict[str, float] = defaultdict(float)
    for provider, at_most_ms, count in runs:
        number[provider] += count
        milliseconds[provider] += count * _middle_ms(at_most_ms)
    return {provider: milliseconds[provider] / count / 1000 for provider, count in number.items() if count}


def _middle_ms(at_most_ms: int) -> float:
    if at_most_ms == MORE:
        return float(BUCKETS_MS[-1])
    index = bisect_left(BUCKETS_MS, at_most_ms)
    return (at_most_ms + (BUCKETS_MS[index - 1] if index else 0)) / 2


class QueueSnapshotCache:
    """Takes a snapshot at most once a second, however many requests need one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._latest: QueueSnapshot | None = None
        self._taken = 0.0

    async def current(self) -> QueueSnapshot:
        """Raises TransientError while PostgreSQL is unavailable."""
        if self._latest is None or time.monotonic() - self._taken > KEPT_S:
            self._taken = time.monotonic()
            self._latest = await self._take()
        return self._latest

    async def _take(self) -> QueueSnapshot:
        now = datetime.now(UTC)
        with transient_errors():
            handed_over = await self._pool.fetch(HANDED_OVER, COUNTED_MAX)
            jobs = await self._pool.fetch(JOBS, COUNTED_MAX)
            running = await self._pool.fetch(RUNNING, COUNTED_MAX)
            runs = await self._pool.fetch(RUNS, now - LATELY)
        return snapshot_of(
            ((row["provider"], row["generation_id"]) for row in handed_over),
            ((row["provider"], QueuedJob(*tuple(row)[1:])) for row in jobs),
            {row["provider"]: row["running"] for row in running},
            ((row["provider"], row["at_most_ms"], row["runs"]) for row in runs),
            now,
        )
