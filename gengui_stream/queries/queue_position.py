"""Queue positions and estimated starts, from a snapshot of all generations that have not started.

A provider's internal queue is not visible: a generation that was handed over and not reported as started counts as
queued, in the order of the requests.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections.provider_statistics import BUCKETS_MS, MORE

COUNTED_MAX: Final = 10_000
"""Generations counted from the front of each queue; further positions are a lower bound. So many rows of a queue are
read, however long it is."""

KEPT_S: Final = 1.0
LATELY: Final = timedelta(minutes=15)
"""The estimate uses the runs that completed within this time; without any there is no estimate."""

QueueKey: TypeAlias = tuple[datetime, UUID]
"""The order of a provider's queue."""

# Skips in the index from each provider to the next, and reads the front of each queue in the index's order: by id,
# which sorts by its creation. With ids of another kind the front may differ beyond COUNTED_MAX. LIMIT 1 keeps the
# planner from reading every request.
WAITING: Final = """
WITH RECURSIVE queue AS (
    (SELECT provider FROM projections.generation_states WHERE NOT settled AND started_at IS NULL
        ORDER BY provider LIMIT 1)
    UNION ALL
    SELECT later.provider FROM queue CROSS JOIN LATERAL (
        SELECT s.provider FROM projections.generation_states s
        WHERE NOT settled AND started_at IS NULL AND s.provider > queue.provider ORDER BY s.provider LIMIT 1) AS later)
SELECT queue.provider, r.requested_at, waiting.generation_id FROM queue CROSS JOIN LATERAL (
    SELECT s.generation_id FROM projections.generation_states s
    WHERE NOT settled AND started_at IS NULL AND s.provider = queue.provider AND status IN ('queued', 'dispatched')
    ORDER BY s.provider, s.generation_id LIMIT $1) AS waiting
CROSS JOIN LATERAL (
    SELECT requested_at FROM projections.generation_requests WHERE generation_id = waiting.generation_id LIMIT 1) AS r
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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """The queues at one moment. `keys_by_provider`: in queue order. `cut`: the providers whose queue is longer."""

    taken_at: datetime
    keys_by_provider: Mapping[str, Sequence[QueueKey]] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    run_s: Mapping[str, float] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()

    def position_of(self, provider: str, key: QueueKey) -> QueuePosition:
        """Also of a generation that was requested after the snapshot."""
        queue = self.keys_by_provider.get(provider, ())
        position = bisect_left(queue, key) + 1
        behind_all = position > len(queue)
        return QueuePosition(position, behind_all and provider in self.cut, self._starts_in_s(provider, position))

    def _starts_in_s(self, provider: str, position: int) -> float | None:
        """Assumes that as many attempts keep running side by side as now; when none runs, that the first starts at
        once."""
        run_s, running = self.run_s.get(provider), self.running.get(provider, 0)
        if run_s is None:
            return None
        return round(run_s * (position / running if running else position - 1), 1)


def snapshot_of(
    keys_by_provider: Iterable[tuple[str, datetime, UUID]],
    running: Mapping[str, int],
    runs: Iterable[tuple[str, int, int]],
    taken_at: datetime,
) -> QueueSnapshot:
    """Pure. `keys_by_provider`: in any order; `runs`: provider, upper bound of a bucket in milliseconds, number of
    runs."""
    queues: defaultdict[str, list[QueueKey]] = defaultdict(list)
    for provider, requested_at, generation_id in keys_by_provider:
        queues[provider].append((requested_at, generation_id))
    for queue in queues.values():
        queue.sort()
    cut = frozenset(provider for provider, queue in queues.items() if len(queue) >= COUNTED_MAX)
    return QueueSnapshot(taken_at=taken_at, keys_by_provider=queues, running=running, run_s=_mean_s(runs), cut=cut)


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
            keys_by_provider = await self._pool.fetch(WAITING, COUNTED_MAX)
            running = await self._pool.fetch(RUNNING, COUNTED_MAX)
            runs = await self._pool.fetch(RUNS, now - LATELY)
        return snapshot_of(
            ((row["provider"], row["requested_at"], row["generation_id"]) for row in keys_by_provider),
            {row["provider"]: row["running"] for row in running},
            ((row["provider"], row["at_most_ms"], row["runs"]) for row in runs),
            now,
        )
