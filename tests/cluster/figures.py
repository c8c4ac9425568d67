"""Events a second and freshness with one, two and three `agents` processes on three brokers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from gengui_stream.log.topics import ensure_topic
from gengui_stream.settings import load_settings
from tests.bench.fold.measurement import OURS, Load, measured_round
from tests.bench.freshness.measurement import Freshness, opened_freshness
from tests.bench.freshness.steady_load import OverloadError
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, opened_system, started
from tests.cluster.brokers import Cluster
from tests.cluster.report import AgentsFigures
from tests.faults.schedule.run import Say

AGENTS: Final = (1, 2, 3)
PARTITIONS: Final = 6
"""So that each of one, two and three processes has as many as the others."""

EVENTS_PER_S: Final = 500
"""Of the load beside which freshness is measured."""

TRIES: Final = 3


async def measure_agents(directory: Path, load: Load, seconds: float, say: Say) -> list[AgentsFigures]:
    """`load`: what is folded for the rate, in each round. `seconds`: of each measurement of freshness."""
    async with _opened(directory) as system:
        rates = await _rates(system, load, say)  # first: its databases are copies of one that must be empty
        fresh = {count: await _freshness(system, count, seconds, say) for count in AGENTS}
        return [_figures(count, rates[count], fresh[count]) for count in AGENTS]


@asynccontextmanager
async def _opened(directory: Path) -> AsyncIterator[System]:
    cluster = Cluster(directory)
    try:
        await cluster.start()
        async with opened_system(**cluster.environ, EVENTS_PARTITIONS=str(PARTITIONS)) as system:
            yield system
    finally:
        await cluster.kill()


async def _freshness(system: System, count: int, seconds: float, say: Say) -> Freshness:
    say(f"freshness at {EVENTS_PER_S} events/s, {count} agents ...")
    async with opened_freshness(system, agents=count) as subject:
        await subject.at_rest(2.0)
        for _ in range(TRIES - 1):
            try:
                return await subject.under_load(EVENTS_PER_S, seconds)
            except OverloadError as error:
                say(f"  {error}: again ...")
        return await subject.under_load(EVENTS_PER_S, seconds)


async def _rates(system: System, load: Load, say: Say) -> Mapping[int, float]:
    """Medians of the rounds, of a log of its own that was filled before."""
    own = {**system.environ, "EVENTS_TOPIC": "figures.events"}
    filled = replace(system, environ=own, settings=load_settings(own, env_files=()))
    await ensure_topic(filled.settings)
    say(f"filling the log with {load.events:,} events ...")
    async with started(filled, "filling", ["tests.bench.filling", str(load.generations)]) as filling:
        await filling.ended()
        if filling.exit_code:
            raise RuntimeError(filling.log_tail())
    found: dict[int, list[float]] = {count: [] for count in AGENTS}
    for number in range(load.rounds):
        for count in _rotated(AGENTS, number):
            measured = await measured_round(filled, replace(OURS, name=f"{count} agents", processes=count), load)
            found[count].append(measured.per_s)
            say(f"  round {number + 1} of {load.rounds}, {count} agents: {measured.per_s:,.0f} events/s")
    return {count: median(rates) for count, rates in found.items()}


def _rotated(counts: Sequence[int], by: int) -> Sequence[int]:
    cut = by % len(counts)
    return [*counts[cut:], *counts[:cut]]


def _figures(count: int, per_s: float, fresh: Freshness) -> AgentsFigures:
    p50, p99, worst = (round(quantile(fresh.delays.polled, share) * 1000, 1) for share in (0.5, 0.99, 1.0))
    live = fresh.load.per_s if fresh.load is not None else 0.0
    return AgentsFigures(count, round(per_s), round(live), p50, p99, worst)
