"""The contract of the job queue: claims by queue, in order, under leases, and only of partitions whose projection has
caught up."""

from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

import pytest

from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import NO_QUEUE, JobQueue

FLUX: Final = ProviderPreference("runpod", "flux", pinned=False)
PINNED: Final = ProviderPreference("runpod", "flux", pinned=True)
OTHER: Final = ProviderPreference("gemini", "banana", pinned=False)


class JobTable(Protocol):
    """The jobs under test. Partition 0 is vouched for."""

    def queue(self, kind: JobKind = "dispatch", *, owner: str = "one") -> JobQueue: ...

    async def given(
        self,
        queue: ProviderPreference,
        number: int = 1,
        *,
        partition: int = 0,
        kind: JobKind = "dispatch",
        due_s: float = -1,
        owner_id: UUID = ...,
        attempt: int = 1,
    ) -> list[UUID]:
        """Adds jobs of one owner, due in that many seconds and one microsecond after another; returns their
        generations."""
        ...

    async def vouch(self, partition: int) -> None: ...

    async def withdraw(self, partition: int) -> None: ...

    async def end_leases(self) -> None:
        """As if the time of every lease had passed."""
        ...

    async def make_due(self) -> None:
        """As if the time of every delay had passed."""
        ...

    async def expedite(self, generation_id: UUID) -> None:
        """As a webhook does for the first attempt."""
        ...

    async def last_errors(self) -> Sequence[str | None]:
        """Of each job that is left."""
        ...


async def claimed(queue: JobQueue, limit: int, *queues: ProviderPreference) -> list[UUID]:
    return [job.generation_id for job in await queue.claim(limit, queues)]


class JobQueueContract:
    async def test_jobs_of_one_owner_are_claimed_by_queue_as_they_came(self, jobs: JobTable) -> None:
        pinned = await jobs.given(PINNED, 2, due_s=-2)
        flux, other = await jobs.given(FLUX, 3, due_s=-1), await jobs.given(OTHER, 2, due_s=-3)
        await jobs.given(FLUX, due_s=60)
        queue = jobs.queue()
        assert await queue.queues() == sorted([FLUX, PINNED, OTHER])
        assert await claimed(queue, 3, FLUX, PINNED) == [*pinned, flux[0]]
        assert await claimed(queue, 3, FLUX, PINNED) == flux[1:]
        assert await claimed(queue, 9, FLUX, PINNED) == []
        assert await claimed(queue, 9, OTHER) == other

    async def test_owners_alternate(self, jobs: JobTable) -> None:
        first = await jobs.given(FLUX, 9, owner_id=new_id())
        second = await jobs.given(FLUX, 4, owner_id=new_id())
        queue = jobs.queue()
        taken = await claimed(queue, 6, FLUX)
        assert [set(taken[at : at + 2]) for at in (0, 2, 4)] == [{first[at], second[at]} for at in range(3)]
        late = await jobs.given(FLUX, 2, owner_id=new_id())
        assert set(await claimed(queue, 3, FLUX)) == {first[3], second[3], late[0]}, "it gets no tag that is over"
        assert set(await claimed(queue, 2, FLUX)) == {first[4], late[1]}
        assert await claimed(queue, 9, FLUX) == first[5:]

    async def test_owners_share_a_provider_whatever_the_model(self, jobs: JobTable) -> None:
        owner = new_id()
        mine = [*await jobs.given(FLUX, 3, owner_id=owner), *await jobs.given(PINNED, 3, owner_id=owner)]
        queue = jobs.queue()
        assert await claimed(queue, 2, FLUX, PINNED) == mine[:2]
        [other] = await jobs.given(PINNED, owner_id=new_id())
        assert (await claimed(queue, 3, FLUX, PINNED))[-1] in {other, mine[3]}
        assert set(await claimed(queue, 9, FLUX, PINNED)) <= {other, *mine[3:]}

    async def test_a_second_attempt_does_not_queue_again(self, jobs: JobTable) -> None:
        mine = await jobs.given(FLUX, 50)
        queue = jobs.queue()
        assert await claimed(queue, 10, FLUX) == mine[:10]
        [again] = await jobs.given(FLUX, attempt=2, due_s=0)
        assert set(await claimed(queue, 2, FLUX)) == {mine[10], again}

    async def test_a_job_that_waits_for_its_provider_gives_no_other_an_early_tag(self, jobs: JobTable) -> None:
        mine = await jobs.given(FLUX, 10)
        queue = jobs.queue()
        [waiting, *_] = await queue.claim(5, [FLUX])
        await queue.reschedule({waiting.key: 3_600.0})
        first, *others = await jobs.given(FLUX, 10, owner_id=new_id())
        assert set(await claimed(queue, 2, FLUX)) == {mine[5], first}
        assert set(await claimed(queue, 2, FLUX)) == {mine[6], others[0]}

    async def test_a_queue_claims_its_own_kind(self, jobs: JobTable) -> None:
        [canceled] = await jobs.given(NO_QUEUE, kind="cancel")
        [reconciled] = await jobs.given(NO_QUEUE, kind="reconcile")
        assert await jobs.queue("dispatch").queues() == []
        [job] = await jobs.queue("cancel").claim(9)
        assert (job.kind, job.generation_id, job.attempt, job.queue) == ("cancel", canceled, 1, NO_QUEUE)
        [job] = await jobs.queue("reconcile").claim(9)
        assert (job.kind, job.generation_id, job.tries, job.expedited) == ("reconcile", reconciled, 1, False)

    async def test_a_claimed_job_is_no_other_process_s_until_its_lease_ends(self, jobs: JobTable) -> None:
        [generation_id] = await jobs.given(FLUX)
        one, other = jobs.queue(), jobs.queue(owner="other")
        [job] = await one.claim(1, [FLUX])
        assert await other.claim(1, [FLUX]) == []
        assert await one.renew([job.key]) == {job.key}
        await jobs.end_leases()
        [again] = await other.claim(1, [FLUX])
        assert (again.generation_id, again.tries) == (generation_id, 2)
        await one.finish([job.key])
        await one.reschedule({job.key: 0.0})
        await one.reschedule_after_error(job.key, 0.0, "not its job")
        assert await one.renew([job.key]) == set()
        assert await jobs.last_errors() == [None], "the other process holds it, as it was"
        assert await other.claim(1, [FLUX]) == []
        await other.finish([again.key])
        assert await jobs.last_errors() == []

    async def test_a_released_job_is_claimed_at_once_and_the_try_does_not_count(self, jobs: JobTable) -> None:
        first, second, _ = await jobs.given(FLUX, 3)
        one, other = jobs.queue(), jobs.queue(owner="other")
        taken = await one.claim(3, [FLUX])
        await one.finish([taken[2].key])
        await one.release([job.key for job in taken])
        again = await other.claim(9, [FLUX])
        assert [(job.generation_id, job.tries) for job in again] == [(first, 1), (second, 1)]
        await one.release([job.key for job in taken])
        assert await one.claim(9, [FLUX]) == [], "another process holds them"

    async def test_two_processes_share_a_queue(self, jobs: JobTable) -> None:
        ids = await jobs.given(FLUX, 40)
        queues = [jobs.queue(owner="one"), jobs.queue(owner="other")]
        found: list[UUID] = []
        while len(found) < len(ids):
            for queue in queues:
                found += await claimed(queue, 7, FLUX)
        assert sorted(found) == sorted(ids)

    @pytest.mark.parametrize("withdrawn", [True, False])
    async def test_jobs_of_a_partition_that_catches_up_are_not_claimed(self, jobs: JobTable, withdrawn: bool) -> None:
        behind = await jobs.given(FLUX, partition=7, due_s=-9)
        live = await jobs.given(FLUX)
        if withdrawn:
            await jobs.vouch(7)
            await jobs.withdraw(7)
        queue = jobs.queue()
        assert await claimed(queue, 9, FLUX) == live
        await jobs.vouch(7)
        assert await claimed(queue, 9, FLUX) == behind

    async def test_a_rescheduled_job_is_due_again_after_its_delay(self, jobs: JobTable) -> None:
        await jobs.given(FLUX)
        queue = jobs.queue()
        [job] = await queue.claim(1, [FLUX])
        await queue.reschedule({job.key: 3_600.0}, reset_tries=[job.key])
        assert await queue.claim(1, [FLUX]) == []
        await jobs.make_due()
        [again] = await queue.claim(1, [FLUX])
        assert again.tries == 1
        await queue.reschedule_after_error(again.key, 0.0, "no route")
        assert await jobs.last_errors() == ["no route"]
        [third] = await queue.claim(1, [FLUX])
        assert third.tries == 2

    async def test_an_expedited_job_is_due_at_once_also_when_it_is_claimed(self, jobs: JobTable) -> None:
        [generation_id] = await jobs.given(NO_QUEUE, kind="reconcile", due_s=3_600)
        queue = jobs.queue("reconcile")
        assert await queue.claim(9) == []
        await jobs.expedite(generation_id)
        [job] = await queue.claim(9)
        assert job.expedited
        await jobs.expedite(generation_id)
        assert await queue.claim(9) == [], "it is not taken from its process"
        await queue.reschedule({job.key: 3_600.0})
        [again] = await queue.claim(9)
        assert again.expedited
        await queue.reschedule({again.key: 3_600.0})
        assert await queue.claim(9) == [], "expedited once, claimed once"
