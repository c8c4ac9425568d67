"""What the job queue on PostgreSQL does beyond its contract: a dead owner's word ends, and a backlog costs nothing."""

from datetime import timedelta

import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import partition_owners
from tests.contracts.job_queue import FLUX, OTHER, claimed
from tests.contracts.test_job_queue import PostgresJobTable
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def test_a_dead_owner_s_word_ends(emptied: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_owners, "VALID_FOR", timedelta(milliseconds=200))
    jobs = PostgresJobTable(emptied)
    await jobs.vouch(0)
    find = "SELECT valid_until < now() FROM jobs.partition_owners"
    await eventually(lambda: emptied.fetchval(find))
    await jobs.given(FLUX)
    assert await claimed(jobs.queue(), 9, FLUX) == []


BACKLOG = 20_000


async def test_a_backlog_behind_a_slow_provider_is_not_touched(emptied: Pool) -> None:
    """Row versions written while nothing can start, and the rows read to find another provider's job."""
    jobs = PostgresJobTable(emptied)
    await jobs.vouch(0)
    await jobs.given(FLUX, BACKLOG)
    [quick] = await jobs.given(OTHER)
    queue = jobs.queue()
    before = await updated(emptied)
    for _ in range(20):
        assert set(await queue.queues()) == {FLUX, OTHER}
    assert await updated(emptied) == before
    assert await claimed(queue, 1, OTHER) == [quick]
    plan = await emptied.fetch("EXPLAIN (ANALYZE, FORMAT TEXT) " + SKIPPING)
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
