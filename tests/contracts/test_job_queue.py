"""The job queue on PostgreSQL and in memory."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from gengui_stream.domain.generation.jobs import Job, JobKind
from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import JobQueue, PostgresJobQueue, expedite_reconcile
from gengui_stream.postgres.bulk import execute_writes
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import partition_owners
from gengui_stream.projections.job_rows import JobChanges, write
from gengui_stream.testing.job_queue import InMemoryJobs
from tests.contracts.job_queue import JobQueueContract

OWNER = new_id()


def made_jobs(
    queue: ProviderPreference, number: int, *, kind: JobKind, due_s: float, owner_id: UUID, attempt: int
) -> list[Job]:
    return [
        Job(
            f"{kind}:{new}:{attempt}",
            kind,
            new,
            attempt,
            queue=queue,
            owner_id=owner_id if kind == "dispatch" else None,
            delay_seconds=due_s + place / 1e6,
        )
        for place, new in enumerate(new_id() for _ in range(number))
    ]


class PostgresJobTable:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._epoch = 0

    def queue(self, kind: JobKind = "dispatch", *, owner: str = "one") -> JobQueue:
        return PostgresJobQueue(self._pool, kind, owner=owner, lease_seconds=30)

    async def given(
        self,
        queue: ProviderPreference,
        number: int = 1,
        *,
        partition: int = 0,
        kind: JobKind = "dispatch",
        due_s: float = -1,
        owner_id: UUID = OWNER,
        attempt: int = 1,
    ) -> list[UUID]:
        jobs = made_jobs(queue, number, kind=kind, due_s=due_s, owner_id=owner_id, attempt=attempt)
        async with self._pool.acquire() as connection:
            await execute_writes(connection, [write(jobs, partition)])
        return [job.generation_id for job in jobs]

    async def vouch(self, partition: int) -> None:
        self._epoch += 1
        await partition_owners.vouch(self._pool, {partition: self._epoch})

    async def withdraw(self, partition: int) -> None:
        self._epoch += 1
        await partition_owners.withdraw(self._pool, {partition: self._epoch})

    async def end_leases(self) -> None:
        await self._pool.execute("UPDATE jobs.jobs SET leased_until = now()")

    async def make_due(self) -> None:
        await self._pool.execute("UPDATE jobs.jobs SET available_at = now()")

    async def expedite(self, generation_id: UUID) -> None:
        await expedite_reconcile(self._pool, generation_id, 1)

    async def last_errors(self) -> Sequence[str | None]:
        return [row["last_error"] for row in await self._pool.fetch("SELECT last_error FROM jobs.jobs")]


class InMemoryJobTable:
    def __init__(self) -> None:
        self._jobs = InMemoryJobs()

    def queue(self, kind: JobKind = "dispatch", *, owner: str = "one") -> JobQueue:
        return self._jobs.queue(kind, owner=owner)

    async def given(
        self,
        queue: ProviderPreference,
        number: int = 1,
        *,
        partition: int = 0,
        kind: JobKind = "dispatch",
        due_s: float = -1,
        owner_id: UUID = OWNER,
        attempt: int = 1,
    ) -> list[UUID]:
        jobs = made_jobs(queue, number, kind=kind, due_s=due_s, owner_id=owner_id, attempt=attempt)
        self._jobs.write(JobChanges(made=jobs), partition)
        return [job.generation_id for job in jobs]

    async def vouch(self, partition: int) -> None:
        self._jobs.vouch([partition])

    async def withdraw(self, partition: int) -> None:
        self._jobs.withdraw([partition])

    async def end_leases(self) -> None:
        self._jobs.clock.advance(30)

    async def make_due(self) -> None:
        self._jobs.clock.advance(3_600)

    async def expedite(self, generation_id: UUID) -> None:
        self._jobs.expedite_reconcile(generation_id, 1)

    async def last_errors(self) -> Sequence[str | None]:
        return [row.last_error for row in self._jobs.rows.values()]


class TestInMemory(JobQueueContract):
    @pytest.fixture
    async def jobs(self) -> InMemoryJobTable:
        made = InMemoryJobTable()
        await made.vouch(0)
        return made


@pytest.mark.stack
class TestOnPostgres(JobQueueContract):
    @pytest.fixture
    async def jobs(self, emptied: Pool) -> PostgresJobTable:
        made = PostgresJobTable(emptied)
        await made.vouch(0)
        return made
