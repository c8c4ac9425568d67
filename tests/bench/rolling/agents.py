"""How long a rolling restart of two `agents` processes pauses each partition: the longest time from an append to its
projection, of events that are appended all the time.

python -m tests.bench.rolling.agents [--quick]
"""

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import uvloop

from gengui_stream.dev.processes.child import Child
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings
from tests.bench.report.progress import say
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, opened_system
from tests.integration.running import a_request, eventually

EVENTS_PER_S: Final = 100
POLL_S: Final = 0.01
ROUNDS: Final = 3
GOAL_S: Final = 3.0
SETTLED_S: Final = 1.0
"""After each change of the group, so that the pauses of one are not those of the next."""

CLAIMS: Final = "SELECT partition, next_offset, owner_epoch FROM projections.checkpoints WHERE topic = $1"

Order = Literal["surge", "in place"]
"""`surge`: a new process joins before an old one ends, as in Kubernetes. `in place`: it starts after that."""


@dataclass(slots=True)
class Feed:
    """Appends events and finds when each partition has projected them."""

    log: EventLog
    pool: Pool
    topic: str
    waiting: defaultdict[int, deque[tuple[int, float]]] = field(default_factory=lambda: defaultdict(deque))
    """By partition: offsets that are not projected, and when they were appended."""
    longest: dict[int, float] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)

    async def append(self) -> None:
        """Each event when it is due, whether the one before is confirmed or not."""
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while True:
                due += 1 / EVENTS_PER_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._append_one())

    async def _append_one(self) -> None:
        position = await self.log.append(a_request())
        self.waiting[position.partition].append((position.offset, time.perf_counter()))

    async def watch(self) -> None:
        while True:
            for row in await self.pool.fetch(CLAIMS, self.topic):
                self._projected(row["partition"], row["next_offset"])
                self.epochs[row["partition"]] = row["owner_epoch"]
            await asyncio.sleep(POLL_S)

    def _projected(self, partition: int, next_offset: int) -> None:
        waiting, now = self.waiting[partition], time.perf_counter()
        while waiting and waiting[0][0] < next_offset:
            delay = now - waiting.popleft()[1]
            self.delays.append(delay)
            self.longest[partition] = max(delay, self.longest.get(partition, 0.0))

    async def claimed_after(self, epochs: Mapping[int, int]) -> bool:
        """Whether every partition was claimed again since then."""
        return len(self.epochs) > 0 and all(self.epochs[each] > epochs.get(each, 0) for each in self.epochs)

    async def settled(self) -> bool:
        """Whether nothing waits for long."""
        now = time.perf_counter()
        return all(now - waiting[0][1] < SETTLED_S for waiting in self.waiting.values() if waiting)


@dataclass(frozen=True, slots=True)
class Pause:
    """What a change of the group did: the longest delay of each partition, and the seconds until the process ended."""

    what: str
    by_partition: Mapping[int, float]
    ended_s: float = 0.0

    @property
    def longest_s(self) -> float:
        return max(self.by_partition.values(), default=0.0)


@dataclass(slots=True)
class Group:
    """Two processes of the consumer group, of which one after the other is replaced."""

    system: System
    feed: Feed
    running: list[Child] = field(default_factory=list)
    started: int = 0
    pauses: list[Pause] = field(default_factory=list)

    def start(self) -> Child:
        self.started += 1
        child = self.system.child(f"agents-{self.started}")
        command = [sys.executable, "-m", "gengui_stream.cli", *ROLES["agents"].arguments]
        child.start(command, environ={**self.system.whole_environ, "METRICS_PORT": "0"})
        self.running.append(child)
        return child

    async def join(self) -> None:
        """Starts a process, and waits until it has its part."""
        async with self._change("a process joins"):
            self.start()

    async def leave(self) -> None:
        """Ends the oldest process by SIGTERM."""
        child, began = self.running.pop(0), time.perf_counter()
        async with self._change("a process ends") as took:
            os.kill(child.pid or 0, signal.SIGTERM)
            await child.ended()
            took.append(time.perf_counter() - began)
            if child.exit_code != 0:
                raise RuntimeError(f"agents ended with {child.exit_code}: {child.log_tail()}")

    async def replace_all(self, order: Order) -> None:
        for _ in range(len(self.running)):
            steps = (self.join, self.leave) if order == "surge" else (self.leave, self.join)
            for step in steps:
                await step()

    @asynccontextmanager
    async def _change(self, what: str) -> AsyncIterator[list[float]]:
        epochs, took = dict(self.feed.epochs), list[float]()
        self.feed.longest.clear()
        yield took
        await eventually(lambda: self.feed.claimed_after(epochs))
        await asyncio.sleep(SETTLED_S)
        await eventually(self.feed.settled)
        self.pauses.append(Pause(what, dict(self.feed.longest), *took))


@asynccontextmanager
async def opened_group(system: System, settings: Settings) -> AsyncIterator[Group]:
    """Two processes that have shared the partitions, and the feed."""
    async with (
        opened_pool(settings, size=1) as pool,
        EventLog(settings) as log,
        asyncio.TaskGroup() as tasks,
    ):
        feed = Feed(log, pool, settings.events_topic)
        group = Group(system, feed)
        feeding = [tasks.create_task(feed.append()), tasks.create_task(feed.watch())]
        try:
            group.start()
            await eventually(lambda: feed.claimed_after({}))
            await group.join()
            await asyncio.sleep(SETTLED_S)
            group.pauses.clear()
            yield group
        finally:
            for task in feeding:
                task.cancel()
            for child in group.running:
                await child.stop(grace_s=15)


@dataclass(frozen=True, slots=True)
class Found:
    """`steady`: delays without any change."""

    steady: Sequence[float]
    pauses: Mapping[Order, Sequence[Pause]]


async def measure(*, rounds: int) -> Found:
    async with opened_system() as system, opened_group(system, system.settings) as group:
        group.feed.delays.clear()
        await asyncio.sleep(5)
        steady = list(group.feed.delays)
        pauses: dict[Order, Sequence[Pause]] = {}
        for order in ("surge", "in place"):
            group.pauses.clear()
            for number in range(rounds):
                say(f"  {order}, round {number + 1} ...")
                await group.replace_all(order)
            pauses[order] = list(group.pauses)
        return Found(steady, pauses)


def run(quick: bool) -> str:
    return section(uvloop.run(measure(rounds=1 if quick else ROUNDS)))


METHOD: Final = f"""\
Two `agents` processes with the default settings; {EVENTS_PER_S} requests a second are appended, and the checkpoints
read every {POLL_S * 1000:.0f} ms. A pause is the longest time from an append to the commit of its projection, of any
event of a partition. Each process is replaced in turn: `surge` starts another one before the old one gets SIGTERM, as
the Deployment of Kubernetes does; `in place` starts it after that."""


def section(found: Found) -> str:
    steady = [quantile(found.steady, share) * 1000 for share in (0.5, 0.99)]
    lines = [
        METHOD,
        "",
        "| order | change | changes | pause p50 s | worst s | SIGTERM to its end, worst s |",
        "|---|---|---:|---:|---:|---:|",
        *(
            _row(order, what, pauses)
            for order, pauses in found.pauses.items()
            for what in sorted({p.what for p in pauses})
        ),
        "",
        f"Without a change: p50 {steady[0]:.0f} ms, p99 {steady[1]:.0f} ms.",
        "",
        _goal(found),
    ]
    return "\n".join(lines)


def _row(order: Order, what: str, pauses: Sequence[Pause]) -> str:
    own = [pause for pause in pauses if pause.what == what]
    longest = [seconds for pause in own for seconds in pause.by_partition.values()]
    ended = max(pause.ended_s for pause in own)
    figures = f"{quantile(longest, 0.5):.2f} | {max(longest):.2f} | {f'{ended:.2f}' if ended else ''}"
    return f"| {order} | {what} | {len(own)} | {figures} |"


def _goal(found: Found) -> str:
    worst = max(pause.longest_s for pauses in found.pauses.values() for pause in pauses)
    met = "met" if worst < GOAL_S else "**missed**"
    return f"Goal: each partition pauses for less than {GOAL_S:.0f} s. The longest pause is {worst:.2f} s, {met}."


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
