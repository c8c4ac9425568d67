"""A rolling restart of every role while clients use the system: what they notice, and what is lost.

python -m tests.bench.rolling.every_role [--quick]
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import uvloop

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.recovery.verify import verify
from gengui_stream.roles import ROLES
from tests.bench.report.progress import say
from tests.bench.rolling.clients import Balancer, Seen, clients
from tests.bench.system import System, opened_system
from tests.integration.running import eventually

PROCESSES: Final[Mapping[str, int]] = {role: 1 if role == "live-tables" else 2 for role in ROLES}
ROUTED_FOR_S: Final = 0.3
"""Seconds in which a process that is no longer listed still takes connections: preStop, without its reserve."""

BETWEEN: Final = 3
"""Generations that end between two restarts."""

TIMELINE: Final = "SELECT partition || ':' || log_offset FROM projections.timeline WHERE owner_id = $1"
OWNER: Final = "SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'"
OPEN: Final = """
SELECT job_key, available_at - now() AS due_in, leased_until - now() AS leased_for, tries, last_error FROM jobs.jobs
WHERE kind <> 'reconcile'
"""
"""The jobs that are left. Those that reconcile find, when they are due, that their generation has ended."""


@dataclass(frozen=True, slots=True)
class Process:
    """`port`: of the API's clients; `health`: of `/readyz`."""

    role: str
    child: Child
    port: int
    health: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True)
class Roll:
    """The system and its processes, oldest first. `stops`: the seconds from SIGTERM to the end, by role."""

    system: System
    balancer: Balancer = field(default_factory=Balancer)
    running: dict[str, list[Process]] = field(default_factory=dict)
    started: int = 0
    stops: dict[str, list[float]] = field(default_factory=dict)

    async def start(self, role: str) -> None:
        """Returns when it is ready, and takes connections."""
        self.started += 1
        ports = {"PORT": free_port(), "METRICS_PORT": free_port()}
        environ = {**ports, "API_METRICS_PORT": ports["METRICS_PORT"]} if role == "api" else ports
        child = self.system.child(f"{role}-{self.started}")
        command = [sys.executable, "-m", "gengui_stream.cli", *ROLES[role].arguments]
        child.start(
            command, environ={**self.system.whole_environ, **{name: str(port) for name, port in environ.items()}}
        )
        process = Process(role, child, ports["PORT"], ports["METRICS_PORT"])
        self.running.setdefault(role, []).append(process)
        await eventually(lambda: _is_ready(process))
        if role == "api":
            self.balancer.urls.append(process.url)

    async def end_oldest(self, role: str) -> None:
        """By SIGTERM, after no new connections were routed to it."""
        process = self.running[role].pop(0)
        if role == "api":
            self.balancer.urls.remove(process.url)
            await asyncio.sleep(ROUTED_FOR_S)
        began = time.monotonic()
        os.kill(process.child.pid or 0, signal.SIGTERM)
        await process.child.ended()
        self.stops.setdefault(role, []).append(time.monotonic() - began)
        if process.child.exit_code != 0:
            raise RuntimeError(f"{role} ended with {process.child.exit_code}: {process.child.log_tail()}")

    async def replace(self, role: str) -> None:
        """Each of its processes, a new one first. Two live tables never run at the same time."""
        for _ in range(PROCESSES[role]):
            steps = [self.start, self.end_oldest]
            for step in reversed(steps) if role == "live-tables" else steps:
                await step(role)

    async def stop_all(self) -> None:
        await asyncio.gather(*(each.child.stop(grace_s=20) for some in self.running.values() for each in some))


async def _is_ready(process: Process) -> bool:
    process.child.check_alive()
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{process.health}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


@asynccontextmanager
async def opened_roll(system: System) -> AsyncIterator[Roll]:
    roll = Roll(system)
    try:
        await asyncio.gather(*(roll.start(role) for role, number in PROCESSES.items() for _ in range(number)))
        yield roll
    finally:
        await roll.stop_all()


@dataclass(frozen=True, slots=True)
class Found:
    """`lost`: generations without an end. `again`: those with more than one attempt. `missed`, `repeated`: positions of
    the owner's timeline that the streams had never, or more than once. `differences`: of `verify`."""

    seen: Seen
    stops: Mapping[str, Sequence[float]]
    seconds: float
    lost: Sequence[str]
    again: Sequence[str]
    missed: Sequence[str]
    repeated: Sequence[str]
    differences: Sequence[object]

    @property
    def faults(self) -> list[str]:
        named = {"lost": self.lost, "again": self.again, "missed": self.missed, "repeated": self.repeated}
        found = [f"{name}: {len(each)}: {list(each)[:3]}" for name, each in named.items() if each]
        return [*self.seen.faults, *found, *map(str, self.differences)]


async def measure(*, rounds: int, roles: Sequence[str] = tuple(ROLES)) -> Found:
    """Two processes of each role; those of `roles` are replaced `rounds` times, one role after the other."""
    async with opened_system() as system, opened_roll(system) as roll:
        began = time.monotonic()
        async with clients(roll.balancer, system.key) as seen:
            for number in range(rounds):
                for role in roles:
                    say(f"  round {number + 1}, {role}: {seen.ended} generations, {len(seen.faults)} faults ...")
                    await _more(seen)
                    await roll.replace(role)
            await _more(seen)
            seconds = time.monotonic() - began
        return await _found(system, roll, seen, seconds)


async def _more(seen: Seen) -> None:
    wanted = seen.ended + BETWEEN

    async def enough() -> bool:
        return seen.ended >= wanted

    try:
        await eventually(enough)
    except AssertionError as error:
        raise AssertionError(f"no generation ends any more; {seen.statuses}, {seen.faults[:5]}") from error


async def _found(system: System, roll: Roll, seen: Seen, seconds: float) -> Found:
    async with opened_pool(system.settings, size=1) as pool:

        async def settled() -> bool:
            left[:] = map(dict, await pool.fetch(OPEN))
            return not left

        left: list[object] = []
        try:
            await eventually(settled)
        except AssertionError as error:
            raise AssertionError(f"{len(left)} jobs are left: {left[:5]}") from error
        timeline = {row[0] for row in await pool.fetch(TIMELINE, await pool.fetchval(OWNER))}
    streamed = seen.streamed
    since = _first_of_each_partition(streamed)
    expected = {each for each in timeline if _offset(each)[1] >= since.get(_offset(each)[0], 0)}
    return Found(
        seen=seen,
        stops=roll.stops,
        seconds=seconds,
        lost=[each for each in seen.accepted if each not in seen.attempts],
        again=[each for each, attempt in seen.attempts.items() if attempt > 1],
        missed=sorted(expected - streamed.keys()),
        repeated=[each for each, times in streamed.items() if times > 1],
        differences=(await verify(system.settings)).samples,
    )


def _offset(position: str) -> tuple[int, int]:
    partition, offset = position.split(":")
    return int(partition), int(offset)


def _first_of_each_partition(positions: Mapping[str, int]) -> dict[int, int]:
    """The streams begin where the log ends when they are opened."""
    first: dict[int, int] = {}
    for partition, offset in map(_offset, positions):
        first[partition] = min(offset, first.get(partition, offset))
    return first


def run(quick: bool) -> str:
    return section(uvloop.run(measure(rounds=1 if quick else 2)))


METHOD: Final = """\
Every role as two processes (`live-tables` as one), each replaced in turn: a new one starts, and when its `/readyz`
answers 200 an old one gets SIGTERM. Four clients request small images one after the other and poll each to its end,
each over one kept connection until a response announces its end; an API that is replaced is taken from the list for new
connections a moment before, as preStop does. One client follows the owner's live stream and reconnects with
`Last-Event-ID`."""


def section(found: Found) -> str:
    statuses = ", ".join(f"{status}: {number:,}" for status, number in sorted(found.seen.statuses.items()))
    restarts = sum(len(each) for each in found.stops.values())
    lines = [
        METHOD,
        "",
        "| role | SIGTERM to its end, s |",
        "|---|---|",
        *(f"| {role} | {', '.join(f'{seconds:.1f}' for seconds in stops)} |" for role, stops in found.stops.items()),
        "",
        f"{restarts} restarts in {found.seconds:.0f} s, {found.seen.ended:,} generations, "
        f"{found.seen.closed} connections ended by a response, {found.seen.reconnected} reconnections of the "
        f"stream with {len(found.seen.streamed):,} events.",
        "",
        f"Responses by status: {statuses}. Requests without a response, and responses of 500 or more: "
        f"{len(found.seen.faults)}.",
        "",
        f"Goal: nothing is lost, nothing is done twice, and no response is 5xx. {_met(found)}",
    ]
    return "\n".join(lines)


def _met(found: Found) -> str:
    return f"**missed**: {'; '.join(found.faults)[:1_000]}" if found.faults else "Met; `verify` agrees."


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
