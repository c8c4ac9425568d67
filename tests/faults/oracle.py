"""The conditions that hold after every fault, checked without the code under test where possible."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.state import TERMINAL
from gengui_stream.log.codec import decode
from gengui_stream.log.reader import open_reader
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.recovery.lag import measure_lag
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.faults.load import Load
from tests.faults.system import DevSystem
from tests.integration.running import eventually

LEFT: Final = """
SELECT id, s.status, s.version, s.attempt, j.job_key, j.kind, j.available_at - now(), j.tries, j.last_error
FROM unnest($1::uuid[]) AS id LEFT JOIN projections.generation_states s ON s.generation_id = id
LEFT JOIN jobs.jobs j ON j.generation_id = id
WHERE s.status IS NULL OR NOT s.status = ANY($2::text[]) OR j.kind = 'thumbnail'
"""


async def settled(system: DevSystem, load: Load, *, all_completed: bool = True, within_s: float = 150) -> None:
    """Nothing accepted was lost, nothing happened twice, and the read models are the fold of the log.

    Without `all_completed`, a generation whose workers were killed too often may have failed.
    """
    try:
        assert load.faults == []
        assert load.accepted
        settings, ids = system.settings, list(load.accepted.values())
        assert len(set(ids)) == len(load.accepted), "one generation for two keys"
        async with opened_pool(settings, size=2) as pool:
            await _end(pool, ids, within_s)
            await eventually(lambda: _caught_up(settings, pool), within_s=30)
            await _once(pool, ids)
            await _pictures(settings, pool, ids, all_completed=all_completed)
        await _on_the_log(settings, ids)
        await agreed(system)
    except BaseException:
        system.broken = True
        raise


async def _end(pool: Pool, ids: Collection[UUID], within_s: float) -> None:
    """Each has ended, and no picture is without its thumbnail."""

    left: list[tuple[object, ...]] = []

    async def over() -> bool:
        left[:] = [tuple(row) for row in await pool.fetch(LEFT, ids, sorted(TERMINAL))]
        return not left

    try:
        await eventually(over, within_s=within_s)
    except AssertionError as error:
        raise AssertionError(f"{len(left)} are not over: {left[:3]}") from error


async def _caught_up(settings: Settings, pool: Pool) -> bool:
    return not sum(partition.events for partition in await measure_lag(settings, pool))


async def _once(pool: Pool, ids: Collection[UUID]) -> None:
    """One request and one ending each, one thumbnail an output; everything that was counted was counted once."""
    rows = await pool.fetch(
        "SELECT generation_id, type FROM projections.timeline WHERE ignored IS NULL AND generation_id = "
        "ANY($1::uuid[])",
        ids,
    )
    applied = Counter((row["generation_id"], row["type"]) for row in rows)
    assert all(applied[generation_id, "generation.requested"] == 1 for generation_id in ids)
    thumbnails = [applied[i, "thumbnail.created"] + applied[i, "thumbnail.failed"] for i in ids]
    assert thumbnails == [applied[i, "generation.completed"] for i in ids]
    assert all(applied[i, "generation.completed"] <= 1 for i in ids)
    for row in await pool.fetch("SELECT * FROM projections.checkpoints"):
        assert row["applied"] + row["ignored"] + row["dead_lettered"] == row["next_offset"] - row["start_offset"]


async def _pictures(settings: Settings, pool: Pool, ids: Collection[UUID], *, all_completed: bool) -> None:
    """They came to a good end, and what they came to can be fetched."""
    rows = await pool.fetch(
        "SELECT generation_id, status, error, outputs FROM projections.generation_states WHERE generation_id = "
        "ANY($1::uuid[])",
        ids,
    )
    ends = Counter((row["status"], row["error"]) for row in rows)
    completed = [row for row in rows if row["status"] == "completed"]
    assert len(completed) == len(ids) if all_completed else len(completed) > len(ids) / 2, ends
    async with open_object_store(settings) as store:
        for row in completed[:: max(1, len(completed) // 20)]:
            [output] = json.loads(row["outputs"])
            assert await store.get(output["object_key"], 10_000_000)


async def _on_the_log(settings: Settings, ids: Collection[UUID]) -> None:
    requested: set[UUID] = set()
    async with open_reader(settings) as reader:
        async for records in reader.until_end():
            decoded = [decode(record.key, record.value) for record in records]
            requested |= {e.generation_id for e in decoded if isinstance(e, Event) and e.type == "generation.requested"}
    assert set(ids) <= requested


async def agreed(system: DevSystem) -> None:
    """`gengui-stream verify` finds no difference."""
    code, output = await system.command("verify", "--json")
    assert code == 0, output
