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


async def killed_after(settings: Settings, seconds: float) -> tuple[int, float]:
    """Its exit code, which is that of the signal unless it ended before, and the seconds it ran."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", *TWO_PROCESSES),
        env=environment(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
    return await process.wait(), time.monotonic() - began


async def kill_at_random_moments(settings: Settings, times: int, whole: float) -> None:
    """`whole`: seconds of a run. One that goes on with another is done sooner, and the load of the machine changes: the
    moments follow the runs that came to their end."""
    chance, killed, runs = random.Random(SEED), 0, 0
    while killed < times:
        code, seconds = await killed_after(settings, chance.uniform(0.25, 0.8) * whole)
        assert code in {0, -signal.SIGKILL}
        killed, runs = killed + (code != 0), runs + 1
        whole = whole * 1.05 if code else seconds
        assert runs < 10 * times, f"{killed} of {runs} runs were killed"


async def killed_again_and_again(settings: Settings, pool: Pool, event_log: EventLog, times: int) -> None:
    await a_good_database(settings, pool, event_log)
    await event_log.append_many([event for number in range(100, 400) for event in recent(number)])
    await project_everything(settings, pool)
    expected, began = await contents(pool), time.monotonic()
    assert (await command(settings, *TWO_PROCESSES, new_process=True)).code == 0
    await kill_at_random_moments(settings, times, time.monotonic() - began)
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
