"""Freshness with a long log beside an empty one: two systems of the same kind, measured in turn.

python -m tests.bench.freshness.log_length [--quick]
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Final

import uvloop

from gengui_stream.postgres.pool import opened_pool
from gengui_stream.projecting import checkpoints
from tests.bench.freshness.measurement import Freshness, FreshnessSubject, opened_freshness
from tests.bench.freshness.steady_load import OverloadError
from tests.bench.report.progress import say
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, opened_system, started
from tests.events import EVENTS_A_GENERATION

EVENTS: Final = 1_000_000
EVENTS_PER_S: Final = 1_000
GOAL: Final = 1.2
PROJECTED_WITHIN_S: Final = 600.0
TRIES: Final = 3
SHARES: Final = (0.5, 0.9, 0.99)

Figures = Sequence[float]
"""One round: the quantiles of SHARES, in milliseconds."""


def run(quick: bool) -> str:
    events, rounds, seconds = (100_000, 2, 10.0) if quick else (EVENTS, 5, 20.0)
    return section(events, *uvloop.run(measure(events, rounds=rounds, seconds=seconds)))


async def measure(events: int, *, rounds: int, seconds: float) -> tuple[list[Figures], list[Figures]]:
    """The rounds of the empty log, and those of the long one."""
    async with AsyncExitStack() as stack:
        say("  an empty log ...")
        empty = await opened(stack, 0)
        say(f"  a log of {events:,} events, appended and projected ...")
        long = await opened(stack, events)
        measured: tuple[list[Figures], list[Figures]] = ([], [])
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds} ...")
            pairs = list(zip((empty, long), measured, strict=True))
            for subject, figures in pairs if number % 2 == 0 else reversed(pairs):
                figures.append(await timed_round(subject, seconds))
        return measured


async def opened(stack: AsyncExitStack, events: int) -> FreshnessSubject:
    system = await stack.enter_async_context(opened_system())
    if events:
        command = ["tests.bench.filling", str(events // EVENTS_A_GENERATION)]
        async with started(system, "filling", command) as filling:
            await filling.ended()
            if filling.exit_code:
                raise RuntimeError(f"the log was not filled:\n{filling.log_tail()}")
    subject = await stack.enter_async_context(opened_freshness(system, projected_within_s=PROJECTED_WITHIN_S))
    await _until_projected(system, events)
    return subject


async def _until_projected(system: System, events: int) -> None:
    async with asyncio.timeout(PROJECTED_WITHIN_S), opened_pool(system.settings, size=1) as pool:
        while sum((await checkpoints.projected(pool, system.settings.events_topic)).values()) < events:
            await asyncio.sleep(0.2)


async def timed_round(subject: FreshnessSubject, seconds: float) -> Figures:
    """Repeats a run in which the log could not take the load. Raises OverloadError when it
    never does."""
    for _ in range(TRIES - 1):
        try:
            return _figures(await subject.under_load(EVENTS_PER_S, seconds))
        except OverloadError as error:
            say(f"  {error}: again ...")
    return _figures(await subject.under_load(EVENTS_PER_S, seconds))


def _figures(loaded: Freshness) -> Figures:
    return [quantile(loaded.delays.polled, share) * 1000 for share in SHARES]


def section(events: int, empty: Sequence[Figures], long: Sequence[Figures]) -> str:
    return "\n".join(
        [
            f"Two systems side by side, one of which has folded {events:,} events before. In turn, each gets "
            f"{EVENTS_PER_S:,} events a second,",
            "and a polled GET is timed as above. Milliseconds, the median of the rounds.",
            "",
            "| events in the log at first | rounds | p50 ms | p90 ms | p99 ms |",
            "|---:|---:|---:|---:|---:|",
            row("0", empty),
            row(f"{events:,}", long),
            "",
            _goal(events, empty, long),
        ]
    )


def row(name: str, rounds: Sequence[Figures]) -> str:
    return f"| {name} | {len(rounds)} | {' | '.join(f'{value:.1f}' for value in medians(rounds))} |"


def medians(rounds: Sequence[Figures]) -> Figures:
    return [median(values) for values in zip(*rounds, strict=True)]


def _goal(events: int, empty: Sequence[Figures], long: Sequence[Figures]) -> str:
    """The differences of each pair of rounds, so that a busy moment of the machine affects both."""
    ratio = median(after[0] / before[0] for before, after in zip(empty, long, strict=True))
    return (
        f"- Goal: with {events:,} events in the log, p50 is within {GOAL} times that of an empty one. "
        f"Median ratio of the pairs: {ratio:.2f}, {'met' if ratio <= GOAL else '**missed**'}."
    )


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
