"""Folding the log into PostgreSQL: the agents beside a stock faust agent and a loop written by hand.

Every subject reads the same log from its beginning into a database of its own, fresh each round; what counts is the
time between the first and the last commit that is seen. The agents also fold while the log is being filled.

python -m tests.bench.fold.measurement [--quick]
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, TypeAlias

import asyncpg

from gengui_stream.dev.processes.child import Child
from tests.bench.filling import ACTIVE
from tests.bench.fold import handwritten_loop, stock_faust
from tests.bench.system import System, cpu_s, opened_system, rss_mib, started
from tests.events import EVENTS_A_GENERATION

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

POLL_S: Final = 0.05
START_S: Final = 60.0
POSITIONS: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM projections.checkpoints"
DATABASE: Final = "fold"


@dataclass(frozen=True, slots=True)
class Subject:
    """`progress`: a query for the number of committed events. `whole`: measured to the end, not for a slice.
    `processes`: the number of processes that run the command and share the partitions."""

    name: str
    command: Sequence[str]
    table: str | None = None
    progress: str = POSITIONS
    whole: bool = True
    processes: int = 1


OURS: Final = Subject("GenGui Stream, `agents`", ["gengui_stream.cli", "agents"])
OURS_TWICE: Final = replace(OURS, name="GenGui Stream, two `agents`", processes=2)
HAND: Final = ["tests.bench.fold.handwritten_loop"]
BY_HAND: Final = Subject("(b) by hand: rows, position", HAND, handwritten_loop.TABLE)
BY_HAND_TIMELINE: Final = Subject(
    "(b) by hand: rows, timeline, position", [*HAND, "--timeline"], handwritten_loop.TABLE
)
STOCK: Final = Subject(
    "(a) stock faust agent, a transaction an event",
    ["tests.bench.fold.stock_faust", "worker", "--without-web"],
    stock_faust.TABLE,
    stock_faust.PROGRESS,
    whole=False,
)
GOALS: Final = {STOCK.name: "; goal: 10"}
EVENTS_A_SECOND_AIM: Final = 25_000
BASELINES: Final = (STOCK, BY_HAND, BY_HAND_TIMELINE)
SUBJECTS: Final = (OURS, OURS_TWICE, *BASELINES)


@dataclass(frozen=True, slots=True)
class Sample:
    """The committed events and the resources used so far. Processor time in seconds."""

    at: float
    events: int
    process_s: float
    postgres_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """The difference of two samples of one subject."""

    first: Sample
    last: Sample
    rss_mib: float

    @property
    def events(self) -> int:
        return self.last.events - self.first.events

    @property
    def per_s(self) -> float:
        return self.events / (self.last.at - self.first.at)

    @property
    def process_us(self) -> float:
        return (self.last.process_s - self.first.process_s) * 1e6 / self.events

    @property
    def postgres_us(self) -> float:
        return (self.last.postgres_s - self.first.postgres_s) * 1e6 / self.events


Rounds = Mapping[str, Sequence[Round]]
"""By subject."""


@dataclass(frozen=True, slots=True)
class Load:
    """`slice_s`: how long a subject is measured that would take too long to the end."""

    generations: int
    rounds: int
    slice_s: float

    @property
    def events(self) -> int:
        return self.generations * EVENTS_A_GENERATION


FULL: Final = Load(100_000, 3, 20.0)
QUICK: Final = Load(4_000, 2, 5.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """`load`: the requested load; `live`: the agents while the log was being filled."""

    load: "Load"
    live: Round
    rounds: Rounds


def run(quick: bool) -> str:
    return section(asyncio.run(measure(QUICK if quick else FULL)))


async def measure(load: Load) -> Measured:
    async with opened_system() as system:
        live = await _live(system, load)
        found: dict[str, list[Round]] = {subject.name: [] for subject in SUBJECTS}
        for number in range(load.rounds):
            for subject in _rotated(SUBJECTS, number):
                found[subject.name].append(await measured_round(system, subject, load))
        return Measured(load, live, found)


def _rotated(subjects: Sequence[Subject], by: int) -> Sequence[Subject]:
    cut = by % len(subjects)
    return [*subjects[cut:], *subjects[:cut]]


async def _live(system: System, load: Load) -> Round:
    """The agents while another process fills the log as fast as it can."""
    async with fresh(system, OURS) as (own, connection), _running(own, OURS) as children:
        await _until_claimed(children[0], connection)
        async with started(system, "filling", ["tests.bench.filling", str(load.generations)]) as filling:
            seen = await _observed(system, OURS, children, connection, load)
            await filling.ended()
            if filling.exit_code:
                raise RuntimeError(filling.log_tail())
            return seen


async def _until_claimed(child: Child, connection: Connection) -> None:
    async def claimed() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM projections.checkpoints"))

    await child.until_ready(claimed, START_S)


async def measured_round(system: System, subject: Subject, load: Load) -> Round:
    async with fresh(system, subject) as (own, connection), _running(own, subject) as children:
        seen = await _observed(system, subject, children, connection, load)
        if subject.whole:
            await _check(subject, connection, load)
        return seen


@asynccontextmanager
async def _running(system: System, subject: Subject) -> AsyncIterator[Sequence[Child]]:
    async with AsyncExitStack() as stack:
        names = [f"subject-{number}" for number in range(subject.processes)]
        yield [await stack.enter_async_context(started(system, name, subject.command)) for name in names]


@asynccontextmanager
async def fresh(system: System, subject: Subject) -> AsyncIterator[tuple[System, Connection]]:
    """An empty database, and a new consumer group."""
    name, base = f"{DATABASE}_{time.time_ns()}", system.settings.database_dsn.rpartition("/")[0]
    await _execute(f"{base}/postgres", f"CREATE DATABASE {name} TEMPLATE gengui", "CHECKPOINT")
    own = {**system.environ, "DATABASE_URL": f"{base}/{name}", "CONSUMER_GROUP": name}
    connection: Connection = await asyncpg.connect(own["DATABASE_URL"])
    try:
        if subject.table is not None:
            await connection.execute(subject.table)
        yield replace(system, environ=own), connection
    finally:
        await connection.close()
        await _execute(f"{base}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _observed(
    system: System, subject: Subject, children: Sequence[Child], connection: Connection, load: Load
) -> Round:
    """From the first observed commit until everything is committed, or the end of the subject's slice."""
    first = last = await _sample(system, subject, children, connection)
    deadline = time.monotonic() + START_S
    while last.events < load.events and (subject.whole or last.at - first.at < load.slice_s):
        await asyncio.sleep(POLL_S)
        last = await _sample(system, subject, children, connection)
        if not first.events:
            first = last
            if time.monotonic() > deadline:
                raise RuntimeError(f"{subject.name} commits nothing:\n{children[0].log_tail()}")
    return Round(first, last, sum(rss_mib(_pid(child)) for child in children))


async def _sample(system: System, subject: Subject, children: Sequence[Child], connection: Connection) -> Sample:
    for child in children:
        if not child.alive:
            raise RuntimeError(f"{subject.name} ended:\n{child.log_tail()}")
    events, used = await connection.fetchval(subject.progress), sum(cpu_s(_pid(child)) for child in children)
    return Sample(time.perf_counter(), events, used, cpu_s(system.servers["postgres"]))


def _pid(child: Child) -> int:
    assert child.pid is not None
    return child.pid


async def _check(subject: Subject, connection: Connection, load: Load) -> None:
    """Raises an error when the rows of a subject are wrong: its speed then means nothing."""
    states = "projections.generation_states" if subject.command is OURS.command else "handwritten_states"
    right = f"SELECT count(*) FROM {states} WHERE status = 'completed' AND version = {EVENTS_A_GENERATION}"
    checks = {right: load.generations, "SELECT count(*) FROM projections.generation_requests": load.generations}
    if subject is not BY_HAND:
        checks["SELECT count(*) FROM projections.timeline"] = load.events
    for query, expected in checks.items():
        if (found := await connection.fetchval(query)) != expected:
            raise RuntimeError(f"{subject.name}: {query}: {found} instead of {expected}")


def section(measured: Measured) -> str:
    load, rounds = measured.load, measured.rounds
    lines = [
        f"{load.events:,} events of {load.generations:,} generations, {ACTIVE:,} of them in progress at a time, from a "
        "broker on the same machine into PostgreSQL with `fsync` on. "
        f"(a) is looked at for {load.slice_s:.0f} s a round, the others to the end. "
        f"The aim is {EVENTS_A_SECOND_AIM:,} events/s.",
        "",
        "| fold | events/s | least, most | process CPU µs/event | Postgres CPU µs/event | resident MiB |",
        "|---|---:|---:|---:|---:|---:|",
        *(_row(name, found) for name, found in rounds.items()),
        _row(f"{OURS.name}, while the log is filled", [measured.live]),
        "",
        *(
            _ratio(ours, other.name, rounds)
            for ours in (OURS, OURS_TWICE)
            for other in (STOCK, BY_HAND, BY_HAND_TIMELINE)
        ),
    ]
    return "\n".join(lines)


def _row(name: str, found: Sequence[Round]) -> str:
    rates = [each.per_s for each in found]
    process, postgres = median(each.process_us for each in found), median(each.postgres_us for each in found)
    resident = max(each.rss_mib for each in found)
    spread = f"{min(rates):,.0f}, {max(rates):,.0f}"
    return f"| {name} | {median(rates):,.0f} | {spread} | {process:.1f} | {postgres:.1f} | {resident:.0f} |"


def _ratio(subject: Subject, other: str, rounds: Rounds) -> str:
    pairs = list(zip(rounds[subject.name], rounds[other], strict=True))
    faster = [ours.per_s / theirs.per_s for ours, theirs in pairs]
    goal = GOALS.get(other, "")
    spread = f"{min(faster):.2f} to {max(faster):.2f} over {len(pairs)} rounds"
    return f"- {subject.name}: {median(faster):.2f} times {other} ({spread}{goal})"


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
