"""Two agents processes share the partitions; one is killed, or is paused for too long."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gengui_stream.postgres.pool import Pool, opened_pool
from tests.faults.load import load
from tests.faults.oracle import settled
from tests.faults.system import DevSystem
from tests.integration.running import eventually


@asynccontextmanager
async def claims_watched(system: DevSystem) -> AsyncIterator["Claims"]:
    async with opened_pool(system.settings, size=1) as pool:
        yield Claims(pool)


class Claims:
    """How often partitions changed hands."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def count(self) -> int:
        return int(await self._pool.fetchval("SELECT coalesce(sum(owner_epoch), 0) FROM projections.checkpoints"))

    async def more_than(self, count: int) -> int:
        async def more() -> int:
            found = await self.count()
            return found if found > count else 0

        return await eventually(more, within_s=60)


@pytest.mark.parametrize("victim", ["the first", "the second"])
async def test_one_of_two_is_killed(system: DevSystem, victim: str) -> None:
    async with load(system) as asked, claims_watched(system) as claims:
        before = await claims.count()
        second = system.role("agents")
        try:
            shared = await claims.more_than(before)
            await asked.more(5)
            if victim == "the first":
                await system.revived("agents", system.signal("agents", signal.SIGKILL))
            else:
                await second.stop(how=signal.SIGKILL)
            await claims.more_than(shared)
            await asked.more(5)
        finally:
            await second.stop()
    await settled(system, asked)


async def test_one_sleeps_and_wakes_up_when_another_has_its_partitions(system: DevSystem) -> None:
    async with load(system) as asked, claims_watched(system) as claims:
        before = await claims.count()
        second = system.role("agents")
        try:
            shared = await claims.more_than(before)
            await asked.more(5)
            system.signal("agents", signal.SIGSTOP)
            await claims.more_than(shared)
            await asked.more(5)
            system.signal("agents", signal.SIGCONT)
            await asked.more(10)
        finally:
            await second.stop(how=signal.SIGKILL)
    await settled(system, asked)


async def test_the_only_one_sleeps(system: DevSystem) -> None:
    async with load(system) as asked:
        await asked.more(5)
        system.signal("agents", signal.SIGSTOP)
        await asyncio.sleep(2 * system.settings.kafka_session_timeout_s)
        system.signal("agents", signal.SIGCONT)
        await asked.more(5)
    await settled(system, asked)
