"""Claiming jobs: by queue, in order, under leases, and only for partitions whose owner vouches for them."""

from datetime import timedelta
from uuid import UUID

import pytest

from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import PostgresJobQueue, expedite_reconcile
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import partition_owners
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

FLUX = ProviderPreference("runpod", "flux", pinned=False)
PINNED = ProviderPreference("runpod", "flux", pinned=True)
OTHER = ProviderPreference("gemini", "banana", pinned=False)

INSERT = """
INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, provider, model, pinned, available_at)
SELECT $1 || ':' || id || ':1', $1, $2, id, 1, $3, $4, $5, now() + $6::interval + number * interval '1 microsecond'
FROM unnest($7::uuid[]) WITH ORDINALITY AS new (id, number)
"""


@pytest.fixture
async def owned(emptied: Pool) -> Pool:
    await emptied.execute("TRUNCATE jobs.jobs, jobs.partition_owners")
    await partition_owners.vouch(emptied, {0: 1})
    return emptied


async def given(
    pool: Pool,
    queue: ProviderPreference,
    number: int = 1,
    *,
    partition: int = 0,
    kind: str = "dispatch",
    due_s: int = -1,
) -> list[UUID]:
    ids = [new_id() for _ in range(number)]
    await pool.execute(INSERT, kind, partition, *queue, timedelta(seconds=due_s), ids)
    return ids


def a_queue(pool: Pool, owner: str = "one", *, kind: str = "dispatch", lease_s: float = 30) -> PostgresJobQueue:
    return PostgresJobQueue(
        pool, "reconcile" if kind == "reconcile" else "dispatch", owner=owner, lease_seconds=lease_s
    )


async def claimed(queue: PostgresJobQueue, limit: int, *queues: ProviderPreference) -> list[UUID]:
    return [job.generation_id for job in await queue.claim(limit, queues)]


async def test_jobs_are_claimed_by_queue_the_oldest_first(owned: Pool) -> None:
    pinned = await given(owned, PINNED, 2, due_s=-2)
    flux, other = await given(owned, FLUX, 3, due_s=-1), await given(owned, OTHER, 2, due_s=-3)
    await given(owned, FLUX, due_s=60)
    queue = a_queue(owned)
    assert await queue.queues() == sorted([FLUX, PINNED, OTHER])
    assert await claimed(queue, 3, FLUX, PINNED) == [*pinned, flux[0]]
    assert await claimed(queue, 3, FLUX, PINNED) == flux[1:]
    assert await claimed(queue, 9, FLUX, PINNED) == []
    assert await claimed(queue, 9, OTHER) == other


async def test_a_claimed_job_is_no_other_process_s_until_its_lease_ends(owned: Pool) -> None:
    [generation_id] = await given(owned, FLUX)
    one, other = a_queue(owned), a_queue(owned, "other")
    [job] = await one.claim(1, [FLUX])
    assert await other.claim(1, [FLUX]) == []
    assert await one.renew([job.key]) == {job.key}
    await owned.execute("UPDATE jobs.jobs SET leased_until = now()")  # it ran out
    [again] = await other.claim(1, [FLUX])
    assert (again.generation_id, again.tries) == (generation_id, 2)
    await one.finish([job.key])
    assert await one.renew([job.key]) == set()
    assert await owned.fetchval("SELECT count(*) FROM jobs.jobs") == 1, "it was not the first one's to finish"
    await other.finish([again.key])
    assert await owned.fetchval("SELECT count(*) FROM jobs.jobs") == 0


async def test_two_processes_share_a_queue(owned: Pool) -> None:
    ids = await given(owned, FLUX, 40)
    queues = [a_queue(owned, "one"), a_queue(owned, "other")]
    found: list[UUID] = []
    while len(found) < len(ids):
        for queue in queues:
            found += await claimed(queue, 7, FLUX)
    assert sorted(found) == sorted(ids)


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_jobs_of_a_partition_that_catches_up_are_not_claimed(owned: Pool, withdrawn: bool) -> None:
    behind = await given(owned, FLUX, partition=7, due_s=-9)
    live = await given(owned, FLUX)
    if withdrawn:
        await partition_owners.vouch(owned, {7: 1})
        await partition_owners.withdraw(owned, {7: 2})
    queue = a_queue(owned)
    assert await claimed(queue, 9, FLUX) == live
    await partition_owners.vouch(owned, {7: 2})
    assert await claimed(queue, 9, FLUX) == behind


async def test_a_dead_owner_s_word_ends(owned: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_owners, "VALID_FOR", timedelta(milliseconds=200))
    await partition_owners.vouch(owned, {0: 1})
    find = "SELECT valid_until < now() FROM jobs.partition_owners"
    await eventually(lambda: owned.fetchval(find))
    await given(owned, FLUX)
    assert await claimed(a_queue(owned), 9, FLUX) == []


async def test_a_rescheduled_job_is_due_again_after_its_delay(owned: Pool) -> None:
    await given(owned, FLUX)
    queue = a_queue(owned)
    [job] = await queue.claim(1, [FLUX])
    await queue.reschedule({job.key: 3_600.0}, reset_tries=[job.key])
    assert await queue.claim(1, [FLUX]) == []
    await owned.execute("UPDATE jobs.jobs SET available_at = now()")
    [again] = await queue.claim(1, [FLUX])
    assert again.tries == 1
    await queue.reschedule_after_error(again.key, 0.0, "no route")
    assert await owned.fetchval("SELECT last_error FROM jobs.jobs") == "no route"


async def test_a_reported_attempt_is_due_at_once_also_when_it_is_claimed(owned: Pool) -> None:
    nothing = ProviderPreference("", "", pinned=False)
    [generation_id] = await given(owned, nothing, kind="reconcile", due_s=3_600)
    queue = a_queue(owned, kind="reconcile")
    assert await queue.claim(9) == []
    await expedite_reconcile(owned, generation_id, 1)
    [job] = await queue.claim(9)
    assert job.expedited
    await expedite_reconcile(owned, generation_id, 1)
    assert await queue.claim(9) == [], "it is not taken from its process"
    await queue.reschedule({job.key: 3_600.0})
    [again] = await queue.claim(9)
    assert again.expedited
    await queue.reschedule({again.key: 3_600.0})
    assert await queue.claim(9) == [], "reported once, polled once"


BACKLOG = 20_000


async def test_a_backlog_behind_a_slow_provider_is_not_touched(owned: Pool) -> None:
    """Row versions written while nothing can start, and the rows read to find another provider's job."""
    await given(owned, FLUX, BACKLOG)
    [quick] = await given(owned, OTHER)
    queue = a_queue(owned)
    before = await updated(owned)
    for _ in range(20):
        assert set(await queue.queues()) == {FLUX, OTHER}
    assert await updated(owned) == before
    assert await claimed(queue, 1, OTHER) == [quick]
    plan = await owned.fetch("EXPLAIN (ANALYZE, FORMAT TEXT) " + SKIPPING)
    read = [line for [line] in plan if "Index" in line and "rows=" in line]
    assert all(_rows(line) <= 2 for line in read), plan


SKIPPING = """
SELECT provider FROM jobs.jobs WHERE kind = 'dispatch' AND (provider, model, pinned) > ('gemini', 'banana', false)
ORDER BY provider, model, pinned LIMIT 1
"""


async def updated(pool: Pool) -> int:
    await pool.execute("SELECT pg_stat_force_next_flush()")
    found = await pool.fetchval("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'jobs.jobs'::regclass")
    return int(found)


def _rows(line: str) -> float:
    return float(line.split("actual")[1].split("rows=")[1].split(maxsplit=1)[0])
