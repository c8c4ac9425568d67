"""What must be true when the dust has settled, found out without the code that made it so where that is possible."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation import TERMINAL
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

ENDINGS: Final = [f"generation.{status}" for status in ("completed", "failed", "canceled", "timed_out", "moderated")]


async def settled(system: DevSystem, load: Load, *, within_s: float = 90) -> None:
    """Nothing accepted was lost, nothing happened twice, and the read models are the fold of the log."""
    try:
        assert load.faults == []
        assert load.accepted
        settings, ids = system.settings, list(load.accepted.values())
        assert len(set(ids)) == len(load.accepted), "one generation for two keys"
        async with opened_pool(settings, size=2) as pool:
            await eventually(lambda: _over(pool, ids), within_s=within_s)
            await eventually(lambda: _caught_up(settings, pool), within_s=30)
            await _once(pool, ids)
            await _pictures(settings, pool, ids)
        await _on_the_log(settings, ids)
        await agreed(system)
    except BaseException:
        system.broken = True
        raise


async def _over(pool: Pool, ids: Collection[UUID]) -> bool:
    """Each has ended, and nothing is left to be done."""
    rows = await pool.fetch("SELECT status FROM generation_states WHERE generation_id = ANY($1::uuid[])", ids)
    ended = sum(row["status"] in TERMINAL for row in rows)
    thumbnails = await pool.fetchval("SELECT count(*) FROM jobs WHERE outcome IS NULL AND kind = 'thumbnail'")
    return ended == len(ids) and not thumbnails


async def _caught_up(settings: Settings, pool: Pool) -> bool:
    return not sum(partition.events for partition in await measure_lag(settings, pool))


async def _once(pool: Pool, ids: Collection[UUID]) -> None:
    """One request and one ending each, one thumbnail an output; everything that was counted was counted once."""
    rows = await pool.fetch(
        "SELECT generation_id, type FROM timeline WHERE ignored IS NULL AND generation_id = ANY($1::uuid[])", ids
    )
    applied = Counter((row["generation_id"], row["type"]) for row in rows)
    assert all(applied[generation_id, "generation.requested"] == 1 for generation_id in ids)
    thumbnails = [applied[i, "thumbnail.created"] + applied[i, "thumbnail.failed"] for i in ids]
    assert thumbnails == [applied[i, "generation.completed"] for i in ids]
    assert all(applied[i, "generation.completed"] <= 1 for i in ids)
    for row in await pool.fetch("SELECT * FROM projection_positions"):
        assert row["applied"] + row["ignored"] + row["dead_lettered"] == row["next_offset"] - row["start_offset"]


async def _pictures(settings: Settings, pool: Pool, ids: Collection[UUID]) -> None:
    """They all came to a good end, and what they came to can be fetched."""
    rows = await pool.fetch(
        "SELECT generation_id, status, error, outputs FROM generation_states WHERE generation_id = ANY($1::uuid[])", ids
    )
    assert Counter((row["status"], row["error"]) for row in rows) == {("completed", None): len(ids)}
    async with open_object_store(settings) as store:
        for row in rows[:: max(1, len(rows) // 20)]:
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
    """`gengui-stream verify` says so."""
    code, output = await system.command("verify", "--json")
    assert code == 0, output
