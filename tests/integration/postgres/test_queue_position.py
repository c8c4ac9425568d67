"""The snapshot of the queues, taken every second, reads the open generations and not the history."""

import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.queries.queue_position import COUNTED_MAX, RUNNING, WAITING, QueueSnapshotCache

pytestmark = pytest.mark.stack

OPEN, RUNNING_NOW, ENDED = 20_000, 100, 200_000

GENERATIONS = f"""
CREATE TABLE given AS
SELECT n, clock.at + n * interval '1 ms' AS at, n > {ENDED} AS open, n > {ENDED + RUNNING_NOW} AS waits,
    (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3)
        || '8' || substr(md5('b' || n::text), 1, 15))::uuid AS id
FROM generate_series(1, {ENDED + OPEN}) n, (SELECT now() - interval '1 hour' AS at) clock
"""
REQUESTS = """
INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model, provider,
    max_attempts, requested_at)
SELECT id, id, 'a lighthouse', 1, 512, 512, 'm', 'local', 3, at FROM given
"""
STATES = """
INSERT INTO projections.generation_states (generation_id, partition, log_offset, status, version, attempt, provider,
    cancel_requested, started_at, ended_at, provider_model, settled)
SELECT id, n % 8, n, CASE WHEN waits THEN 'queued' WHEN open THEN 'processing' ELSE 'completed' END, 1, 1,
    'local', false, CASE WHEN NOT waits THEN at END, CASE WHEN NOT open THEN at END, 'm', NOT open FROM given
"""


async def given_generations(pool: Pool) -> None:
    for statement in (GENERATIONS, REQUESTS, STATES, "ANALYZE projections.generation_states"):
        await pool.execute(statement)


async def plan(pool: Pool, query: str, *arguments: object) -> str:
    return "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {query}", *arguments))


async def test_only_the_open_generations_are_read(pool: Pool) -> None:
    await given_generations(pool)
    plans = [await plan(pool, WAITING, COUNTED_MAX), await plan(pool, RUNNING)]
    assert [shown for shown in plans if "Seq Scan on generation_states" in shown] == []
    snapshot = await QueueSnapshotCache(pool).current()
    first = await pool.fetchrow("SELECT at, id FROM given WHERE waits ORDER BY n LIMIT 1")
    assert first is not None
    assert snapshot.running == {"local": RUNNING_NOW}
    assert len(snapshot.keys_by_provider["local"]) == COUNTED_MAX
    assert not snapshot.complete
    assert snapshot.position_of("local", (first["at"], first["id"])).position == 1
