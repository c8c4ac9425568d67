"""What an owner vouches for: nothing of a paused partition (law 5), and nothing once PostgreSQL comes back from a
backup, which has the epoch of the owner and not its checkpoint."""

import asyncio
from collections.abc import Mapping

import pytest

from gengui_stream.errors import FencedError
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import live_partitions
from gengui_stream.projections import partition_owners
from tests.integration.projector.interrupting import stopped_at, stopped_while_it_waits
from tests.integration.projector.projections import a_projector, three_generations
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def test_an_owner_notices_a_restored_backup_at_its_next_batch(emptied: Pool) -> None:
    records = three_generations()
    owner = await a_projector(emptied)
    await owner.project(0, records[:10])
    await emptied.execute("UPDATE projections.checkpoints SET next_offset = 4")
    with pytest.raises(FencedError, match="went back from 10 to 4: PostgreSQL was restored"):
        await owner.project(0, records[10:])


async def test_an_owner_without_events_does_not_vouch_for_a_restored_backup(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs would be claimed although what they ask for has been done."""
    monkeypatch.setattr(live_partitions, "VOUCH_EVERY_S", 0.01)
    owner = await a_projector(emptied)
    await owner.project(0, three_generations())
    await emptied.execute("UPDATE jobs.partition_owners SET valid_until = '-infinity'")
    await emptied.execute("UPDATE projections.checkpoints SET next_offset = 4")
    with pytest.raises(FencedError, match="PostgreSQL was restored"):
        await asyncio.wait_for(owner.keep_vouching(), 30)
    assert await partition_owners.live(emptied) == set()


async def test_a_partition_that_is_paused_while_it_goes_live_stays_withdrawn(emptied: Pool) -> None:
    records = three_generations()
    owner = await a_projector(emptied, log_end=1)
    async with stopped_at(emptied, "jobs.jobs"):
        goes_live = await stopped_while_it_waits(emptied, "jobs.jobs", owner.project(0, records[:1]))
        await owner.pause([0])
    await goes_live
    assert (owner.live(), await partition_owners.live(emptied)) == ({}, set())
    await owner.resume({0: 1})
    assert await partition_owners.live(emptied) == {0}
    assert owner.live().keys() == {0}


async def test_a_pause_is_not_overtaken_by_what_was_vouched_before(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner has looked up what is live, and a pause comes before PostgreSQL has it."""
    monkeypatch.setattr(live_partitions, "VOUCH_EVERY_S", 0.01)
    owner = await a_projector(emptied)
    vouch, pauses = partition_owners.vouch, list[asyncio.Task[None]]()

    async def slowly(pool: Pool, epochs: Mapping[int, int]) -> None:
        if not pauses:
            pauses.append(asyncio.create_task(owner.pause([0])))
            await asyncio.wait(pauses, timeout=0.5)
        await vouch(pool, epochs)

    monkeypatch.setattr(partition_owners, "vouch", slowly)
    vouching = asyncio.create_task(owner.keep_vouching())

    async def paused() -> bool:
        return bool(pauses) and pauses[0].done()

    await eventually(paused)
    vouching.cancel()
    await asyncio.wait({vouching})
    assert await partition_owners.live(emptied) == set()
