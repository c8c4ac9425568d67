"""Freshness while all projections are rebuilt, beside freshness at rest: one system, measured in turn.

python -m tests.bench.freshness.beside_rebuild [--quick]
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import uvloop

from tests.bench.freshness.log_length import Figures, medians, opened, row, timed_round
from tests.bench.report.progress import say
from tests.bench.system import System

EVENTS: Final = 1_000_000
RATES: Final = (None, 10_000)
"""Of the rebuild, in events a second: as fast as it can, and with `--max-rate`."""


def run(quick: bool) -> str:
    events, rounds, seconds = (100_000, 1, 5.0) if quick else (EVENTS, 3, 15.0)
    return section(events, *uvloop.run(measure(events, rounds=rounds, seconds=seconds)))


async def measure(events: int, *, rounds: int, seconds: float) -> tuple[list[Figures], dict[int | None, list[Figures]]]:
    """The rounds at rest, and those beside a rebuild by its rate."""
    async with AsyncExitStack() as stack:
        say(f"  a log of {events:,} events, appended and projected ...")
        subject = await opened(stack, events)
        rest: list[Figures] = []
        beside: dict[int | None, list[Figures]] = {rate: [] for rate in RATES}
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds} ...")
            rest.append(await timed_round(subject, seconds))
            for rate, figures in beside.items():
                async with _rebuilding(subject.system, rate):
                    figures.append(await timed_round(subject, seconds))
        return rest, beside


@asynccontextmanager
async def _rebuilding(system: System, rate: int | None) -> AsyncIterator[None]:
    """One rebuild after the other, none of them swapped."""
    process = asyncio.ensure_future(_rebuild_on(system, rate))
    try:
        yield
    finally:
        process.cancel()
        await asyncio.wait({process})


async def _rebuild_on(system: System, rate: int | None) -> None:
    limit = () if rate is None else ("--max-rate", str(rate))
    while True:
        await _command(system, "rebuild", "--all", "--dry-run", *limit)
        await _command(system, "rebuild", "--discard")


async def _command(system: System, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", *arguments),
        env=system.whole_environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")


def section(events: int, rest: Sequence[Figures], beside: dict[int | None, list[Figures]]) -> str:
    return "\n".join(
        [
            f"A system whose log has {events:,} events gets 1,000 events a second, and a polled GET is timed as above: "
            "at rest, and while `gengui-stream rebuild --all --dry-run` runs again and again. Milliseconds, the median "
            "of the rounds.",
            "",
            "| rebuild | rounds | p50 ms | p90 ms | p99 ms |",
            "|---|---:|---:|---:|---:|",
            row("none", rest),
            *(row(_name(rate), found) for rate, found in beside.items()),
            "",
            f"- p99 beside a rebuild: {medians(beside[None])[2] / medians(rest)[2]:.1f} times that at rest; with "
            f"`--max-rate {RATES[1]}`: {medians(beside[RATES[1]])[2] / medians(rest)[2]:.1f} times.",
        ]
    )


def _name(rate: int | None) -> str:
    return "as fast as it can" if rate is None else f"`--max-rate {rate}`"


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
