"""The memory of each role, at rest and under continuous load. The whole system as processes.

python -m tests.bench.memory [--quick]
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, median
from typing import Final

from gengui_stream.roles import ROLES
from tests.bench.freshness.everyday_load import Served, everyday_load
from tests.bench.system import descendants, opened_system, roles_started, rss_mib

GROWS_MIB_A_MIN: Final = 0.5
"""A steeper slope than this over the second half counts as growth: 30 MiB an hour."""

LOAD_S: Final = 1_200
"""Ten minutes to warm up, in which threads start when first needed and heaps reach their size, and ten that are
measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The memory of one role in MiB: medians at rest, and of the second, the middle and the last tenth of the load."""

    at_rest: float
    early: float
    middle: float
    late: float
    most: float
    warming: float
    """MiB a minute over the first half."""
    slope: float
    """MiB a minute over the second half."""


@dataclass(slots=True)
class Samples:
    """Moments, and the memory of each role at them."""

    seconds: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)

    def take(self, pids: Mapping[str, int]) -> None:
        self.seconds.append(time.monotonic())
        for role, pid in pids.items():
            self.mib.setdefault(role, []).append(sum(map(rss_mib, descendants(pid))))


def run(quick: bool) -> str:
    load_s = 60 if quick else LOAD_S
    found, served = asyncio.run(measure(rest_s=10 if quick else 30, load_s=load_s))
    return section(found, served, load_s)


async def measure(*, rest_s: float, load_s: float) -> tuple[Mapping[str, Sizes], Served]:
    async with opened_system() as system, roles_started(system, ROLES) as pids:
        await asyncio.sleep(5)  # until those are up that say nothing
        rest = await _sampled(pids, rest_s)
        async with everyday_load(system.url, system.key) as served:
            loaded = await _sampled(pids, load_s)
        return {role: sizes(rest.mib[role], loaded.seconds, loaded.mib[role]) for role in pids}, served


async def _sampled(pids: Mapping[str, int], seconds: float) -> Samples:
    """Some hundred times."""
    samples, ends = Samples(), time.monotonic() + seconds
    while time.monotonic() < ends:
        samples.take(pids)
        await asyncio.sleep(seconds / 200)
    return samples


def sizes(rest: Sequence[float], seconds: Sequence[float], mib: Sequence[float]) -> Sizes:
    tenth, half = max(1, len(mib) // 10), len(mib) // 2
    return Sizes(
        at_rest=median(rest),
        early=median(mib[tenth : 2 * tenth]),
        middle=median(mib[half - tenth // 2 : half + tenth // 2 + 1]),
        late=median(mib[-tenth:]),
        most=max(mib),
        warming=_slope(seconds[:half], mib[:half]),
        slope=_slope(seconds[half:], mib[half:]),
    )


def _slope(seconds: Sequence[float], mib: Sequence[float]) -> float:
    return linear_regression(seconds, mib).slope * 60


METHOD: Final = """\
Every role of `make dev` as a process, with one worker that draws. Load: generations over HTTP, four in progress at any
time, each followed to its end; pages, single ones and timelines read; one live stream open. Resident size as the kernel
has it, in MiB, sampled throughout: medians at rest, then of the second, the middle and the last tenth of the time under
load, and the slopes over its two halves: in the first, threads begin as they are first needed and heaps find their
size."""


def section(found: Mapping[str, Sizes], served: Served, load_s: float) -> str:
    lines = [
        METHOD,
        "",
        "| role | at rest | early | middle | late | most | first half, MiB/min | second half, MiB/min |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(role, of) for role, of in found.items()),
        "",
        f"In {load_s / 60:.0f} min of load: {served.generations:,} generations, {served.reads:,} reads, "
        f"{served.streamed:,} events on the live stream.",
        "",
        _goal(found, load_s),
    ]
    return "\n".join(lines)


def _row(role: str, of: Sizes) -> str:
    figures = (of.at_rest, of.early, of.middle, of.late, of.most)
    return f"| {role} | {' | '.join(f'{mib:.1f}' for mib in figures)} | {of.warming:+.2f} | {of.slope:+.2f} |"


def _goal(found: Mapping[str, Sizes], load_s: float) -> str:
    growing = [role for role, of in found.items() if of.slope > GROWS_MIB_A_MIN]
    result = f"**missed** by {', '.join(growing)}" if growing else "met"
    if load_s < LOAD_S:
        result = "no result, this run is too short"
    return (
        f"Goal: nothing grows over 10 minutes, that is, by more than {GROWS_MIB_A_MIN} MiB/min in the ten minutes "
        f"after warming up: {result}. `agents` remembers the states of generations in progress, 1 to 2 KiB each and "
        "50,000 a partition at most."
    )


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
