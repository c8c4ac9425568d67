"""SIGKILL of a rebuild at any moment leaves nothing torn, and the next run finishes it."""

import asyncio
import random
import signal
import sys
import time

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.integration.commands import command
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import contents
from tests.integration.recovery.test_verify import a_good_database, recent
from tests.integration.role_process import environment

pytestmark = pytest.mark.stack

SEED = 20261129
TWO_PROCESSES = ("rebuild", "--all", "--processes", "2", "--json")


async def killed_after(settings: Settings, seconds: float) -> int:
    """Its exit code: that of the signal, unless it ended before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", *TWO_PROCESSES),
        env=environment(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        return await process.wait()


async def killed_again_and_again(settings: Settings, pool: Pool, event_log: EventLog, times: int) -> None:
    await a_good_database(settings, pool, event_log)
    await event_log.append_many([event for number in range(100, 400) for event in recent(number)])
    await project_everything(settings, pool)
    expected, chance = await contents(pool), random.Random(SEED)
    began = time.monotonic()
    assert (await command(settings, *TWO_PROCESSES, new_process=True)).code == 0
    whole = time.monotonic() - began
    codes = [await killed_after(settings, chance.uniform(0.25, 0.8) * whole) for _ in range(times)]
    assert codes.count(-signal.SIGKILL) >= times / 5, codes  # one that goes on with another is soon done
    assert set(codes) <= {0, -signal.SIGKILL}
    assert await contents(pool) == expected
    done = (await command(settings, *TWO_PROCESSES, new_process=True)).document
    assert done["swapped"] is not None
    assert not done["differs"]
    assert await contents(pool) == expected
    assert (await verify(settings)).agrees


async def test_some_kills(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await killed_again_and_again(settings, pool, event_log, 4)


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_fifty_kills(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    await killed_again_and_again(settings, pool, event_log, 50)
