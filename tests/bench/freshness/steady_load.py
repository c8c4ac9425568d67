"""An open-loop publisher in a separate process: a fixed number of events a second, however fast the log is.

python -m tests.bench.freshness.steady_load EVENTS_PER_S SECONDS    (settings from the environment)
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import uvloop

from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.settings import load_settings
from schemas.events import Event
from tests.bench.report.quantiles import quantile
from tests.bench.system import System
from tests.events import EVENTS_A_GENERATION, wide_histories

STARTED: Final = b"started\n"
REFUSED: Final = 75
"""The exit code of a load that the log does not take (EX_TEMPFAIL)."""

TICK_S: Final = 0.01


class OverloadError(Exception):
    """The log could not take the load in time: the machine is too slow or too busy."""


@dataclass(frozen=True, slots=True)
class Published:
    """The appended events, with the times from the moment each was due until the log confirmed it."""

    events: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        return self.events / self.seconds


async def publish(log: EventLog, events: Sequence[Event], per_s: float) -> Published:
    """Each event when it is due, or up to `TICK_S` after it together with others: one append costs this process as
    much as many do, and what it takes of the cores is taken from those that are measured. What is late does not put
    off what follows."""
    times: list[float] = []

    async def confirmed(due: float, events: Sequence[Event]) -> None:
        await log.append_many(events)
        times.extend([time.perf_counter() - due] * len(events))

    began = time.perf_counter()
    each = max(1, round(per_s * TICK_S))
    async with asyncio.TaskGroup() as group:
        for number in range(0, len(events), each):
            due = began + number / per_s
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            group.create_task(confirmed(due, events[number : number + each]))
        seconds = time.perf_counter() - began
    return Published(len(times), seconds, quantile(times, 0.5) * 1000, quantile(times, 0.99) * 1000)


async def _run(per_s: float, seconds: float) -> Published:
    count = int(per_s * seconds)
    histories = wide_histories(count // EVENTS_A_GENERATION + 1, start=datetime.now(UTC))
    events = list(islice(histories, count))
    async with EventLog(load_settings(env_files=())) as log:
        sys.stdout.buffer.write(STARTED)
        sys.stdout.buffer.flush()
        return await publish(log, events, per_s)


@asynccontextmanager
async def steady_load(system: System, per_s: float, seconds: float) -> AsyncIterator["asyncio.Task[Published]"]:
    """The load has begun when the context is entered, and ends with it."""
    command = [sys.executable, "-m", __name__, str(per_s), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, env=system.whole_environ, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != STARTED:
            raise RuntimeError("the load did not start")
        yield asyncio.ensure_future(_result(process, process.stdout, per_s))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _result(process: asyncio.subprocess.Process, output: asyncio.StreamReader, per_s: float) -> Published:
    answer = await output.read()
    if await process.wait() == REFUSED:
        raise OverloadError(f"the log does not take {per_s:,.0f} events/s here, or not now")
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    return Published(**json.loads(answer))


if __name__ == "__main__":
    try:
        published = uvloop.run(_run(float(sys.argv[1]), float(sys.argv[2])))
    except* TransientError:
        sys.exit(REFUSED)
    print(json.dumps(asdict(published)))
