"""The projector while it, its connection or the server dies: exactly once, at every point."""

import asyncio
from typing import Final

import pytest

from gengui_stream.errors import FencedError, TransientError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projections.outcomes import Applied, DeadLettered
from gengui_stream.settings import Settings
from tests.events import FakeRecord, wide_history
from tests.integration.projector.interrupting import cut_off, killed, stopped_at, stopped_while_it_waits
from tests.integration.projector.projections import (
    TABLES,
    TOPIC,
    a_log,
    a_projector,
    contents,
    plainly,
    three_generations,
)

pytestmark = pytest.mark.stack

WRITTEN: Final = (*TABLES[:-1], "jobs.jobs")


@pytest.mark.parametrize("table", WRITTEN)
async def test_a_connection_killed_before_the_commit_leaves_nothing(
    database: Settings, emptied: Pool, table: str
) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        await shaken.project(0, records[:2])
        before = await contents(emptied)
        await killed(emptied, table, shaken.project(0, records[2:]))
        assert await contents(emptied) == before
        assert (await shaken.project(0, records[2:])).next_offset == len(records)
    assert await contents(emptied) == expected


async def test_another_owner_came_while_the_outcome_was_unknown(database: Settings, emptied: Pool) -> None:
    records = three_generations()
    async with opened_pool(database) as its_own:
        old = await a_projector(its_own)
        await killed(emptied, "projections.timeline", old.project(0, records))
        await a_projector(emptied)
        with pytest.raises(FencedError):
            await old.project(0, records)
    assert await emptied.fetchval("SELECT count(*) FROM projections.timeline") == 0


async def test_a_cancelled_batch_leaves_nothing_and_may_be_made_again(database: Settings, emptied: Pool) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        async with stopped_at(emptied, "projections.timeline"):
            running = await stopped_while_it_waits(emptied, "projections.timeline", shaken.project(0, records))
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await shaken.project(0, records)
    assert await contents(emptied) == expected


async def test_a_batch_that_fails_parks_no_generation(database: Settings, emptied: Pool) -> None:
    """Otherwise the records would be dead letters when they are read again."""
    history = wide_history(0)
    records = a_log(history[:2])
    records.append(FakeRecord(2, records[0].timestamp, records[0].key, b"{invalid"))
    async with opened_pool(database) as its_own:
        shaken = await a_projector(its_own)
        await killed(emptied, "projections.timeline", shaken.project(0, records))
        batch = await shaken.project(0, records)
    assert [type(outcome) for outcome in batch.outcomes] == [Applied, Applied, DeadLettered]


@pytest.mark.parametrize("made", [True, False], ids=["it was made", "it was not made"])
@pytest.mark.parametrize("generations", [3, 120], ids=["few", "many"])
async def test_a_commit_without_an_answer_counts_once(
    database: Settings, emptied: Pool, generations: int, made: bool
) -> None:
    records = a_log(*(wide_history(number) for number in range(generations)))
    expected = await plainly(emptied, records)
    async with cut_off(database, TOPIC.encode(), made=made) as (proxy, its_own):
        shaken = await a_projector(its_own)
        await shaken.project(0, records[:9])
        proxy.armed = True
        with pytest.raises(TransientError):
            await shaken.project(0, records[9:])
        assert not proxy.armed
        end = len(records)
        assert await emptied.fetchval("SELECT next_offset FROM projections.checkpoints") == (end if made else 9)
        again = await shaken.project(0, records[9:])
        assert (again.next_offset, len(again.outcomes)) == (end, 0 if made else end - 9)
    assert await contents(emptied) == expected
