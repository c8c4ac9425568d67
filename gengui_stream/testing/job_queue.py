"""The job table and its queues in memory."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from gengui_stream.domain.generation.jobs import Job, JobKind
from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.jobs.queue import NO_QUEUE, ClaimedJob
from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.testing.clock import Clock


@dataclass(slots=True)
class JobRow:
    """A row of the table. `available_at`: when the job is due."""

    job: Job
    partition: int
    available_at: datetime
    start_tag: int = 0
    lease_owner: str | None = None
    leased_until: datetime | None = None
    tries: int = 0
    expedited: bool = False
    last_error: str | None = None

    @property
    def queue(self) -> ProviderPreference:
        return self.job.queue or NO_QUEUE

    def is_claimable(self, now: datetime) -> bool:
        return self.available_at <= now and (self.leased_until is None or self.leased_until <= now)

    def claim(self, owner: str, now: datetime, lease: timedelta) -> ClaimedJob:
        self.lease_owner, self.leased_until = owner, now + lease
        self.tries += 1
        expedited, self.expedited = self.expedited, False
        job = self.job
        return ClaimedJob(
            key=job.key,
            kind=job.kind,
            generation_id=job.generation_id,
            attempt=job.attempt,
            output_id=job.output_id,
            tries=self.tries,
            expedited=expedited,
            claimed_at=now,
            queue=self.queue,
            run=job.run,
        )

    def release(self, due: datetime) -> None:
        self.available_at = due
        self.lease_owner = self.leased_until = None


class InMemoryJobs:
    """The jobs of all kinds, which several queues share. Jobs of a partition are claimed only after `vouch`.

    `before_operation` is awaited before each operation of a queue.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.rows: dict[str, JobRow] = {}
        self.live_partitions: set[int] = set()
        self.before_operation: Callable[[], Awaitable[None]] | None = None

    def vouch(self, partitions: Iterable[int]) -> None:
        """The projections of these partitions have caught up with the log."""
        self.live_partitions.update(partitions)

    def withdraw(self, partitions: Iterable[int]) -> None:
        self.live_partitions.difference_update(partitions)

    def write(self, changes: JobChanges, partition: int) -> None:
        """Adds and removes jobs as the projector does. A known `reconcile` job is brought forward; every other known
        job stays as it is."""
        for job in changes.made:
            due = self._due(job)
            row = self.rows.setdefault(job.key, JobRow(job, partition, due, self._start_tag(job)))
            if job.kind == "reconcile":
                row.available_at = min(row.available_at, due)
        for key in changes.obsolete:
            self.rows.pop(key, None)

    def _start_tag(self, job: Job) -> int:
        """The tag after the owner's last one, and none before the virtual time of the queue."""
        if job.queue is None or job.kind != "dispatch":
            return 0
        rows = [row for row in self.rows.values() if row.job.kind == "dispatch"]
        others = [row for row in rows if row.queue.provider == job.queue.provider]
        up = self._virtual_time([row for row in others if row.queue == job.queue])
        if up is None:
            heads = [
                self._virtual_time([row for row in others if row.queue == queue]) for queue in {r.queue for r in others}
            ]
            up = max(
                (head for head in heads if head is not None), default=max((r.start_tag for r in others), default=0)
            )
        if job.attempt > 1:
            return up
        return max([up, *(row.start_tag + 1 for row in others if row.job.owner_id == job.owner_id)])

    def _virtual_time(self, queue: Sequence[JobRow]) -> int | None:
        now = self.clock.now()
        return min((row.start_tag for row in queue if row.is_claimable(now)), default=None)

    def _due(self, job: Job) -> datetime:
        """The earlier one of the delay's end and `not_after`, of those that the job has."""
        delayed = [] if job.delay_seconds is None else [self.clock.now() + timedelta(seconds=job.delay_seconds)]
        return min([*delayed, *([job.not_after] if job.not_after else [])])

    def expedite_reconcile(self, generation_id: UUID, attempt: int) -> None:
        """Makes the attempt's `reconcile` job due at once, and again if it is claimed."""
        row = self.rows.get(f"reconcile:{generation_id}:{attempt}")
        if row is not None:
            row.expedited = True
            row.available_at = min(row.available_at, self.clock.now())

    def queue(self, kind: JobKind, *, owner: str, lease_seconds: float = 30.0) -> "InMemoryJobQueue":
        """The queue of one kind for one process."""
        return InMemoryJobQueue(self, kind, owner=owner, lease_seconds=lease_seconds)


class InMemoryJobQueue:
    """Keeps the contract of `JobQueue`."""

    def __init__(self, jobs: InMemoryJobs, kind: JobKind, *, owner: str, lease_seconds: float) -> None:
        self._jobs = jobs
        self._kind = kind
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)

    async def claim(self, limit: int, queues: Collection[ProviderPreference] = (NO_QUEUE,)) -> list[ClaimedJob]:
        await self._begin()
        now = self._jobs.clock.now()
        due = [
            row
            for row in self._of_kind()
            if row.queue in queues and row.partition in self._jobs.live_partitions and row.is_claimable(now)
        ]
        due.sort(key=lambda row: (row.start_tag, row.available_at, row.job.generation_id))
        return [row.claim(self._owner, now, self._lease) for row in due[:limit]]

    async def queues(self) -> Sequence[ProviderPreference]:
        await self._begin()
        return sorted({row.queue for row in self._of_kind()})

    async def renew(self, keys: Collection[str]) -> set[str]:
        await self._begin()
        held = self._held(keys)
        for row in held.values():
            row.leased_until = self._jobs.clock.now() + self._lease
        return set(held)

    async def finish(self, keys: Collection[str]) -> None:
        await self._begin()
        for key in self._held(keys):
            del self._jobs.rows[key]

    async def reschedule(self, delays: Mapping[str, float], reset_tries: Collection[str] = ()) -> None:
        await self._begin()
        now = self._jobs.clock.now()
        for key, row in self._held(delays).items():
            row.release(now if row.expedited else now + timedelta(seconds=delays[key]))
            row.tries = 0 if key in reset_tries else row.tries

    async def reschedule_after_error(self, key: str, delay_seconds: float, error: str) -> None:
        await self._begin()
        for row in self._held([key]).values():
            row.release(self._jobs.clock.now() + timedelta(seconds=delay_seconds))
            row.last_error = error

    async def release(self, keys: Collection[str]) -> None:
        await self._begin()
        for row in self._held(keys).values():
            row.release(row.available_at)
            row.tries -= 1

    async def _begin(self) -> None:
        if self._jobs.before_operation is not None:
            await self._jobs.before_operation()

    def _of_kind(self) -> list[JobRow]:
        return [row for row in self._jobs.rows.values() if row.job.kind == self._kind]

    def _held(self, keys: Collection[str]) -> dict[str, JobRow]:
        """The rows of these keys whose lease this process holds, or held last."""
        rows = self._jobs.rows
        return {key: rows[key] for key in keys if key in rows and rows[key].lease_owner == self._owner}
