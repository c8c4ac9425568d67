"""SIGKILL to any process of `make dev` under load: it is restarted, and no event is lost or applied twice."""

import asyncio
import random
import signal

import psutil
import pytest

from tests.faults.conftest import Systems
from tests.faults.load import Load, load
from tests.faults.oracle import settled
from tests.faults.system import ROLES, SERVERS, DevSystem
from tests.integration.running import eventually

STARTS = 4


async def killed_under_load(system: DevSystem, name: str, chance: random.Random) -> Load:
    async with load(system) as asked:
        await asked.more(chance.randint(5, 20))
        killed = system.signal(name, signal.SIGKILL)
        await system.revived(name, killed)
        await system.ready()
        await asked.more(5)
    return asked


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_killed(system: DevSystem, role: str, chance: random.Random) -> None:
    asked = await killed_under_load(system, role, chance)
    assert f"{role} ended (-9)" in system.said()
    await settled(system, asked)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_is_killed(system: DevSystem, server: str, chance: random.Random) -> None:
    await settled(system, await killed_under_load(system, server, chance))


async def test_dev_itself_is_killed_and_started_again(system: DevSystem, chance: random.Random) -> None:
    """All its processes go with it; the next one finds everything where it was."""
    async with load(system) as asked:
        await asked.more(chance.randint(5, 20))
        before = system.document()
        await system.kill()
        await eventually(lambda: _gone(before), within_s=10)
        await system.start()
        after = system.document()
        assert {name: after[name] for name in ("api", "kafka", "postgres", "redis", "s3", "keys")} == {
            name: before[name] for name in ("api", "kafka", "postgres", "redis", "s3", "keys")
        }
        await asked.more(5)
    await settled(system, asked)


async def _gone(document: dict[str, object]) -> bool:
    pids = document["pids"]
    assert isinstance(pids, dict)
    return not [pid for found in pids.values() for pid in found if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _stands(system: DevSystem) -> bool:
    """Whether each role handles SIGTERM: one that is starting, since the test before, is killed by it."""
    return all(system.pids(role) and system.log(role).with_suffix(".ready").exists() for role in ROLES)


async def test_every_role_gets_sigterm(system: DevSystem) -> None:
    """SIGTERM under load: each ends by itself within its grace, and is started again."""
    async with load(system) as asked:
        await asked.more(5)
        await eventually(lambda: _stands(system))
        before = system.said().count("ended (0)")
        told = {role: system.signal(role, signal.SIGTERM) for role in ROLES}
        for role, pid in told.items():
            await system.revived(role, pid)
        await system.ready()
        await asked.more(5)
    assert system.said().count("ended (0)") == before + len(ROLES), system.said()
    await settled(system, asked)


async def test_dev_is_killed_while_it_starts(systems: Systems[DevSystem], chance: random.Random) -> None:
    """Again and again, from the first time on: the next one gets further, and the last one works."""
    system = systems.fresh()
    for _ in range(STARTS):
        starting = asyncio.ensure_future(system.start())
        await asyncio.wait({starting}, timeout=chance.uniform(0.2, 10))
        await system.kill()
        await asyncio.gather(starting, return_exceptions=True)
    try:
        await system.start()
        async with load(system) as asked:
            await asked.more(5)
        await settled(system, asked)
    finally:
        await system.stop()
