"""The start times of the embedded stack and the demo, and the memory of the stack and the roles.

python -m tests.bench.start [--quick]
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.roles import ROLES
from tests.bench.report.progress import say
from tests.bench.system import descendants, opened_system, roles_started, rss_mib

WHOLE: Final = "all four, at the same time, new"
DEMO: Final = "`make demo`, eight generations"
DEMO_GOAL_S: Final = 10.0
SETTLED_S: Final = 10.0
"""After their start, caches and pools have what they need at rest."""


@dataclass(slots=True)
class Starts:
    """Seconds of each round, by the part that was started."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, since: float) -> None:
        self.seconds[name].append(time.perf_counter() - since)


def run(quick: bool) -> str:
    return section(*uvloop.run(measure(rounds=2 if quick else 7)))


async def measure(rounds: int) -> tuple[Starts, Mapping[str, float]]:
    """Starts, in turn, a new stack, each of its servers again, and a demo. Then measures the memory of a system at
    rest, in MiB."""
    starts = Starts()
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}: the servers ...")
        await _servers(starts)
        say(f"  round {number + 1} of {rounds}: the demo ...")
        await _demo(starts)
    say("  memory at rest ...")
    return starts, await _memory()


async def _servers(starts: Starts) -> None:
    with temporary_directory("gengui-bench-") as directory:
        stack = EmbeddedStack(directory)
        try:
            began = time.perf_counter()
            await stack.start()
            starts.add(WHOLE, began)
            for server in stack.servers:
                await server.stop()
                began = time.perf_counter()
                await server.start()
                starts.add(f"{server.child.name}, on its data", began)
        finally:
            await stack.stop()


async def _demo(starts: Starts) -> None:
    with ExitStack() as stack:
        output = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "sheet.png"
        command = [sys.executable, "-m", "gengui_stream.cli", "demo", "--json", "--output", str(output)]
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        printed, _ = await process.communicate()
        starts.add(DEMO, began)
        assert json.loads(printed.splitlines()[-1])["completed"] == 8


async def _memory() -> Mapping[str, float]:
    """Resident memory of each server and role with all its processes; shared memory counts in each."""
    async with opened_system() as system, roles_started(system, ROLES) as roles:
        await asyncio.sleep(SETTLED_S)
        return {name: sum(map(rss_mib, descendants(pid))) for name, pid in sorted({**system.servers, **roles}.items())}


def section(starts: Starts, memory: Mapping[str, float]) -> str:
    demo = median(starts.seconds[DEMO])
    return "\n".join(
        [
            "Everything is installed, and its files are in the page cache. A server is ready once a client can use it.",
            "",
            "| started | rounds | s, median | least | most |",
            "|---|---:|---:|---:|---:|",
            *(_row(name, seconds) for name, seconds in starts.seconds.items()),
            "",
            f"- Goal: a demo on an installed machine within {DEMO_GOAL_S:.0f} s: {demo:.1f} s, "
            f"{'met' if demo <= DEMO_GOAL_S else '**missed**'}.",
            "",
            f"Resident MiB at rest, {SETTLED_S:.0f} s after the start, memory that processes share counted in each:",
            "",
            "| " + " | ".join([*memory, "together"]) + " |",
            "|" + "---:|" * (len(memory) + 1),
            "| " + " | ".join(f"{mib:,.0f}" for mib in [*memory.values(), sum(memory.values())]) + " |",
        ]
    )


def _row(name: str, seconds: Sequence[float]) -> str:
    return f"| {name} | {len(seconds)} | {median(seconds):.1f} | {min(seconds):.1f} | {max(seconds):.1f} |"


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
