"""For a minute, any process may be killed or paused at any time, including dev itself."""

import asyncio
import os
import random
import signal
import time
from contextlib import suppress

from tests.faults.load import load
from tests.faults.oracle import settled
from tests.faults.system import ROLES, SERVERS, DevSystem

STORM_S = 60.0
LONGEST_PAUSE_S = 4.0
LONGEST_FREEZE_S = 3.0


async def strike(system: DevSystem, chance: random.Random) -> str:
    name = chance.choice((*ROLES, *ROLES, *SERVERS))
    how, frozen_s = chance.choice(("kill", "kill", "freeze")), chance.uniform(0.1, LONGEST_FREEZE_S)
    pids = system.pids(name)
    if not pids:
        return f"{name} was down"
    with suppress(ProcessLookupError):
        if how == "kill":
            os.kill(pids[0], signal.SIGKILL)
        else:
            os.kill(pids[0], signal.SIGSTOP)
            await asyncio.sleep(frozen_s)
            os.kill(pids[0], signal.SIGCONT)
    return f"{how} {name}"


async def test_a_storm(system: DevSystem, chance: random.Random) -> None:
    until = time.monotonic() + STORM_S
    dies_at = time.monotonic() + chance.uniform(0.3, 0.7) * STORM_S
    async with load(system) as asked:
        while time.monotonic() < until:
            print(f"{until - time.monotonic():5.1f} {await strike(system, chance)}")
            await asyncio.sleep(chance.uniform(0.2, LONGEST_PAUSE_S))
            if time.monotonic() > dies_at:
                dies_at = until
                print("kill dev")
                await system.kill()
                await system.start()
        await system.ready(within_s=120)
        await asked.more(10, within_s=120)
    await settled(system, asked, all_completed=False, within_s=200)
