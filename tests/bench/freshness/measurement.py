"""The time from an append until a reader sees it, at rest and under steady loads: the agents and the API as processes.

python -m tests.bench.freshness.measurement [--quick]
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypedDict
from uuid import UUID

import aiohttp
import orjson
import uvloop

from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, opened_pool
from schemas.events import Event, GenerationProgressed, GenerationRequested, GenerationStarted
from tests.bench.freshness.steady_load import TICK_S, OverloadError, Published, steady_load
from tests.bench.report.progress import say
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, cpu_s, opened_system, projected, roles_started

RATES: Final = (1_000, 5_000)
"""Events a second under load; the goal is for the first."""

SAMPLES_PER_S: Final = 20
GENERATIONS: Final = 200
"""Sampled in turn: each has some seconds between two of its events."""

POLL_S: Final = 0.001
WARM_UP_S: Final = 3.0
P50_GOAL_MS, P99_GOAL_MS = 8.0, 25.0
ROLES: Final = ("agents", "api")
WATCHED: Final = ("agents", "api", "postgres", "kafka")


@dataclass(slots=True)
class Subject:
    """A sampled generation. No other process writes to it, so its version after the next event is known."""

    id: UUID
    version: int = 2
    percent: float = 0.0

    def next_event(self) -> Event:
        self.version += 1
        self.percent += 0.01
        return GenerationProgressed(**_common(self.id), percent=self.percent, stage="sampling")


@dataclass(slots=True)
class Delays:
    """Seconds since the moment an append was due: until the log confirmed it, until a repeated GET returned it, and
    until one GET with `Min-Position` returned."""

    confirmed: list[float] = field(default_factory=list)
    polled: list[float] = field(default_factory=list)
    awaited: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Freshness:
    """One level of load. `busy`: cores' worth of processor time of a process."""

    delays: Delays
    load: Published | None
    busy: Mapping[str, float]


def run(quick: bool) -> str:
    return section(uvloop.run(measure(seconds=15 if quick else 60)))


async def measure(*, seconds: float) -> "Sequence[Freshness | int]":
    """At rest, then under each load; a rate that the log could not take is only named."""
    async with opened_system() as system, opened_freshness(system) as subject:
        say("  at rest ...")
        levels: list[Freshness | int] = [await subject.at_rest(seconds / 2)]
        for rate in RATES:
            say(f"  under {rate:,} events/s ...")
            levels.append(await _bearable(subject, rate, seconds))
        return levels


async def _bearable(subject: "FreshnessSubject", rate: int, seconds: float) -> "Freshness | int":
    """Only the rate, if the log could not take it."""
    try:
        return await subject.under_load(rate, seconds)
    except* (OverloadError, TransientError) as refusals:
        say(f"  {refusals.exceptions[0]}")
    return rate


@dataclass(frozen=True, slots=True)
class FreshnessSubject:
    """A system whose agents and API are measured, and the clients that measure them."""

    system: System
    pids: Mapping[str, int]
    sampler: "Sampler"

    async def at_rest(self, seconds: float) -> Freshness:
        await self.sampler.sample(2.0)  # connections, caches and prepared statements
        return await _level(self.pids, self.sampler, seconds)

    async def under_load(self, per_s: float, seconds: float) -> Freshness:
        async with steady_load(self.system, per_s, WARM_UP_S + seconds + 1) as load:
            await asyncio.sleep(WARM_UP_S)
            loaded = await _level(self.pids, self.sampler, seconds)
            return replace(loaded, load=await load)


@asynccontextmanager
async def opened_freshness(
    system: System, *, projected_within_s: float = 60.0, agents: int = 1
) -> AsyncIterator[FreshnessSubject]:
    """Starts `agents` and `api` on the system. `projected_within_s`: the limit for the events already on the log.
    `agents`: the number of their processes."""
    further = [f"agents-{number}" for number in range(2, agents + 1)]
    async with (
        opened_pool(system.settings, size=2) as pool,
        roles_started(system, (*ROLES, *further)) as roles,
        _opened_sampler(system, pool, projected_within_s) as sampler,
    ):
        pids = {name: pid for name, pid in {**system.servers, **roles}.items() if name in WATCHED}
        yield FreshnessSubject(system, pids, sampler)


async def _level(pids: Mapping[str, int], sampler: "Sampler", seconds: float) -> Freshness:
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    delays = await sampler.sample(seconds)
    passed = time.perf_counter() - began
    return Freshness(delays, None, {name: (cpu_s(pid) - before[name]) / passed for name, pid in pids.items()})


@dataclass(slots=True)
class Sampler:
    """Appends events of its own generations and reads them over HTTP."""

    http: aiohttp.ClientSession
    log: EventLog
    subjects: Sequence[Subject]
    taken: int = 0

    async def sample(self, seconds: float) -> Delays:
        """Samples at random moments, independent of any period of the system; samples do not wait for each other."""
        delays, due = Delays(), time.perf_counter()
        ends = due + seconds
        async with asyncio.TaskGroup() as group:
            while (due := due + random.expovariate(SAMPLES_PER_S)) < ends:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._sample(due, delays))
        return delays

    async def _sample(self, due: float, delays: Delays) -> None:
        subject, polls = self.subjects[self.taken % len(self.subjects)], self.taken % 2 == 0
        self.taken += 1
        event, version = subject.next_event(), subject.version
        position = await self.log.append(event)
        delays.confirmed.append(time.perf_counter() - due)
        if polls:
            while await self._version(subject.id) < version:
                await asyncio.sleep(POLL_S)
            delays.polled.append(time.perf_counter() - due)
        else:
            found = await self._version(subject.id, position)
            assert found >= version, f"version {found} at {position}, expected {version}"
            delays.awaited.append(time.perf_counter() - due)

    async def _version(self, generation_id: UUID, position: Position | None = None) -> int:
        headers = {"Min-Position": str(position)} if position else {}
        async with self.http.get(f"/v1/generations/{generation_id}", headers=headers) as response:
            response.raise_for_status()
            return int(orjson.loads(await response.read())["version"])


@asynccontextmanager
async def _opened_sampler(system: System, pool: Pool, projected_within_s: float) -> AsyncIterator[Sampler]:
    """Opens it with running generations of the demo user."""
    owner_id: UUID = await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'")
    headers = {"Authorization": f"Bearer {system.key}"}
    async with aiohttp.ClientSession(system.url, headers=headers) as http, EventLog(system.settings) as log:
        subjects = [Subject(new_id()) for _ in range(GENERATIONS)]
        events: list[Event] = []
        for subject in subjects:
            events += (_requested(subject.id, owner_id), GenerationStarted(**_common(subject.id)))
        await projected(pool, system.settings, await log.append_many(events), within_s=projected_within_s)
        yield Sampler(http, log, subjects)


def _requested(generation_id: UUID, owner_id: UUID) -> GenerationRequested:
    asked = {"prompt": "a lighthouse", "seed": 1, "width": 512, "height": 512, "model": "flux", "provider": "local"}
    return GenerationRequested.model_validate({**_common(generation_id), **asked, "owner_id": owner_id})


class _Common(TypedDict):
    id: UUID
    generation_id: UUID
    attempt: int
    occurred_at: datetime
    producer: str


def _common(generation_id: UUID) -> _Common:
    now = datetime.now(UTC)
    return _Common(id=new_id(), generation_id=generation_id, attempt=1, occurred_at=now, producer="bench")


def section(found: Sequence[Freshness | int]) -> str:
    levels = [level for level in found if isinstance(level, Freshness)]
    refused = [f"- {rate:,.0f} events/s: **not taken** by the log in time." for rate in found if isinstance(rate, int)]
    head = "| events/s | since the append was due until … | samples | p50 ms | p90 ms | p99 ms | worst ms |"
    rows = [row for level in levels for row in _rows(level)]
    busy = [f"- {_rate(level)}: cores in use by {_busy(level)}" for level in levels]
    return "\n".join(
        [METHOD, "", head, "|---|---|---:|---:|---:|---:|---:|", *rows, "", *busy, *refused, _goal(found[1])]
    )


METHOD: Final = f"""\
`agents` and `api` as processes. A publisher in a process of its own appends wide events of many generations
at a fixed rate, those of {TICK_S * 1000:.0f} ms together, without waiting for answers. A sampler appends an event at
random moments, {SAMPLES_PER_S} a second, and asks `GET /v1/generations/{{id}}` on kept connections,
{POLL_S * 1000:.0f} ms after each answer, until one has the event; or it asks once with `Min-Position`.
Time counts from the moment the append was due, so a stall is paid for by all that it delays; the append itself and the
answer's way back are in it."""


def _rows(level: Freshness) -> Sequence[str]:
    delays = level.delays
    what = {
        "the log confirmed it": delays.confirmed,
        "a polled GET had it": delays.polled,
        "a GET with `Min-Position` was answered": delays.awaited,
    }
    return [f"| {_rate(level)} | {name} | {len(times):,} | {_figures(times)} |" for name, times in what.items()]


def _rate(level: Freshness) -> str:
    return "at rest" if level.load is None else f"{level.load.per_s:,.0f}"


def _figures(times: Sequence[float]) -> str:
    return " | ".join(f"{quantile(times, share) * 1000:.1f}" for share in (0.5, 0.9, 0.99, 1.0))


def _busy(level: Freshness) -> str:
    return ", ".join(f"{name} {cores:.2f}" for name, cores in sorted(level.busy.items()))


def _goal(loaded: Freshness | int) -> str:
    goal = f"- Goal at {RATES[0]:,} events/s: p50 ≤ {P50_GOAL_MS:.0f} ms and p99 ≤ {P99_GOAL_MS:.0f} ms."
    if not isinstance(loaded, Freshness):
        return f"{goal} **missed**."
    p50, p99 = (quantile(loaded.delays.polled, share) * 1000 for share in (0.5, 0.99))
    met = "met" if p50 <= P50_GOAL_MS and p99 <= P99_GOAL_MS else "**missed**"
    return f"{goal} Polled: {p50:.1f} ms and {p99:.1f} ms, {met}."


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
