"""The snapshot of the queues, taken every second, reads a bounded number of rows in the order of an index."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import orjson
import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.queries.queue_position import COUNTED_MAX, HANDED_OVER, JOBS, RUNNING, QueueSnapshotCache

pytestmark = pytest.mark.stack

OPEN, RUNNING_NOW, ENDED = 30_000, 100, 200_000
THUMBNAILS = 12_000
"""Of the ended ones: their thumbnails are outstanding."""
PROVIDERS = 2

Plan: TypeAlias = Mapping[str, object]

GENERATIONS = f"""
CREATE TABLE given AS
SELECT n, clock.at + n * interval '1 ms' AS at, n > {ENDED} AS open, n > {ENDED + RUNNING_NOW} AS waits,
    (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3)
        || '8' || substr(md5('b' || n::text), 1, 15))::uuid AS id
FROM generate_series(1, {ENDED + OPEN}) n, (SELECT now() - interval '1 hour' AS at) clock
"""
STATES = f"""
INSERT INTO projections.generation_states (generation_id, partition, log_offset, status, version, attempt, provider,
    cancel_requested, started_at, ended_at, provider_model, settled)
SELECT id, n % 8, n, CASE WHEN waits THEN 'queued' WHEN open THEN 'processing' ELSE 'completed' END, 1, 1,
    CASE WHEN n % 50 = 0 THEN 'gemini' ELSE 'local' END, false, CASE WHEN NOT waits THEN at END,
    CASE WHEN NOT open THEN at END, 'm', n <= {ENDED - THUMBNAILS} FROM given
"""
DISPATCHES = """
INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, provider, model, pinned, owner_id, start_tag,
    available_at)
SELECT 'dispatch:' || id || ':1', 'dispatch', n % 8, id, 1, CASE WHEN n % 50 = 0 THEN 'gemini' ELSE 'local' END, 'm',
    false, id, n, at FROM given WHERE waits
"""


async def given_generations(pool: Pool) -> None:
    analyze = ("ANALYZE projections.generation_states", "ANALYZE jobs.jobs")
    for statement in (GENERATIONS, STATES, DISPATCHES, *analyze):
        await pool.execute(statement)


async def nodes(pool: Pool, query: str, *arguments: object) -> Sequence[Plan]:
    """Of the plan as it was executed."""
    shown = orjson.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments))
    return list(flattened(shown[0]["Plan"]))


def flattened(node: Plan) -> Iterator[Plan]:
    yield node
    children = node.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from flattened(child)


def rows_read(node: Plan) -> float:
    """Returned or discarded by a scan of a table or an index."""
    if "Relation Name" not in node and "Index Name" not in node:
        return 0
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    per_loop = [number for kind in kinds if isinstance(number := node.get(kind, 0), int | float)]
    loops = node["Actual Loops"]
    assert isinstance(loops, int)
    return sum(per_loop) * loops


@pytest.mark.parametrize(
    ("query", "at_most"),
    [(HANDED_OVER, PROVIDERS * COUNTED_MAX), (JOBS, 2 * PROVIDERS * COUNTED_MAX), (RUNNING, PROVIDERS * COUNTED_MAX)],
)
async def test_a_snapshot_sorts_nothing_and_reads_the_front_of_each_queue(pool: Pool, query: str, at_most: int) -> None:
    """Of the jobs the state as well."""
    await given_generations(pool)
    plan = await nodes(pool, query, COUNTED_MAX)
    assert [node for node in plan if "Sort" in str(node["Node Type"]) or node["Node Type"] == "Seq Scan"] == []
    assert sum(map(rows_read, plan)) <= at_most + 4 * PROVIDERS


async def test_a_snapshot_has_the_front_of_each_queue(pool: Pool) -> None:
    await given_generations(pool)
    snapshot = await QueueSnapshotCache(pool).current()
    first = await pool.fetchrow("SELECT at, id FROM given WHERE waits AND n % 50 <> 0 ORDER BY n LIMIT 1")
    last = await pool.fetchrow("SELECT at, id FROM given WHERE waits AND n % 50 = 0 ORDER BY n DESC LIMIT 1")
    assert first is not None
    assert last is not None
    others = (OPEN - RUNNING_NOW) // 50
    assert sum(snapshot.running.values()) == RUNNING_NOW
    assert {name: len(queue.positions) for name, queue in snapshot.queues.items()} == {
        "local": COUNTED_MAX,
        "gemini": others,
    }
    assert snapshot.cut == {"local"}
    assert snapshot.position_of("local", first["id"], first["id"]).position == 1
    assert snapshot.position_of("gemini", last["id"], last["id"]).position == others
