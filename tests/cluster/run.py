"""Takes the turns on a running system: strikes, measures, waits until everything is back; then the oracle evaluates."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from gengui_stream.dev.processes.child import Child
from tests.cluster.brokers import GROUPS_TOPIC, Cluster
from tests.cluster.probe import Probe, gap_of, opened_probe
from tests.cluster.readiness import ReadinessWatch, opened_watch
from tests.cluster.report import ClusterReport, Struck
from tests.cluster.turns import BESIDES, Turn, processes_of
from tests.cluster.two_lost import two_lost
from tests.faults.schedule.fleet import Fleet, opened_fleet
from tests.faults.schedule.plan import Fault
from tests.faults.schedule.run import READY_WITHIN_S, Say, SchedulePlan, ScheduleRun, opened_run
from tests.oracle.evidence import Anomaly

QUIET_S: Final = 10.0
BACK_WITHIN_S: Final = 120.0
STALL_MAX_S: Final = 30.0
"""A longer gap is an anomaly: it is several times what the sessions of brokers and groups take."""

UNREADY_MAX_S: Final = 6.0
"""While one broker of three is lost."""

REQUEST_EVERY_S: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """`quiet_s`: measured without a fault first."""

    seed: int
    turns: Sequence[Turn]
    two_lost: bool = True
    quiet_s: float = QUIET_S


def logs_to_stderr() -> None:
    """Standard output has the result alone."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def run_cluster(plan: ClusterPlan, directory: Path, say: Say) -> ClusterReport:
    """`directory`: empty, for the data and the logs."""
    report, began = ClusterReport(seed=plan.seed), time.monotonic()
    cluster = Cluster(directory)
    schedule = SchedulePlan(seed=plan.seed, count=len(plan.turns), request_every_s=REQUEST_EVERY_S)
    async with (
        opened_fleet(directory, plan.seed, cluster.environ, besides=BESIDES, servers=cluster.servers) as fleet,
        opened_run(schedule, fleet, say) as run,
    ):
        say(f"3 brokers, {len(fleet.roles)} processes; ready after {time.monotonic() - began:.0f} s")
        run.resume()
        async with opened_probe(fleet.settings) as probe, opened_watch(fleet.urls) as watch:
            taken = _Turns(fleet=fleet, cluster=cluster, run=run, probe=probe, watch=watch, report=report, say=say)
            await taken.quiet(plan.quiet_s)
            for number, turn in enumerate(plan.turns, start=1):
                say(f"{number} of {len(plan.turns)}: {turn}")
                await taken.take(number, turn)
            if plan.two_lost:
                await taken.two_lost()
        await run.settle()
        await run.evaluate_all()
        report.schedule = run.report
    run.report.seconds = round(time.monotonic() - began, 1)
    return report


@dataclass(slots=True, kw_only=True)
class _Turns:
    """What takes the turns of one run."""

    fleet: Fleet
    cluster: Cluster
    run: ScheduleRun
    probe: Probe
    watch: ReadinessWatch
    report: ClusterReport
    say: Say

    async def quiet(self, seconds: float) -> None:
        await self._until_back()
        since = time.monotonic()
        await asyncio.sleep(seconds)
        await self._until_visible(time.monotonic())
        self.report.quiet = gap = gap_of(self.probe.samples, since)
        self.say(
            f"without a fault: visible after {gap.p50_ms} ms (p50), {gap.p99_ms} ms (p99), {gap.visible_s} s at most"
        )

    async def take(self, number: int, turn: Turn) -> None:
        target = await self._target(number, turn)
        [child] = self.fleet.children_of(target)
        since, pid = time.monotonic(), child.pid
        async with asyncio.TaskGroup() as pauses:
            await self.run.strike(Fault(number, target, turn.kind, turn.pause_s, 0.0), pauses)
        if turn.kind == "kill":
            await self._until_restarted(child, pid)
        await self._until_back()
        back_s = time.monotonic() - since
        await self._until_visible(time.monotonic())
        gap, unready_s = gap_of(self.probe.samples, since), self.watch.unready_s(since, without=self._url_of(target))
        struck = Struck(str(turn), target, gap, round(back_s, 1), unready_s)
        self.report.struck.append(struck)
        self.say(
            f"  {target}: confirmed within {gap.confirmed_s} s, visible within {gap.visible_s} s, slow on "
            f"{gap.partitions} partitions; all back after {struck.back_s} s; unready for {unready_s} s"
        )
        self._check(turn, struck)

    def _check(self, turn: Turn, struck: Struck) -> None:
        if struck.gap.visible_s > turn.pause_s + STALL_MAX_S:
            self.run.note([Anomaly("stalled", struck.target, f"{turn}: visible after {struck.gap.visible_s} s")])
        if turn.of_broker and struck.unready_s > UNREADY_MAX_S:
            self.run.note([Anomaly("unready", struck.turn, f"for {struck.unready_s} s: {self.watch.last()}")])

    async def two_lost(self) -> None:
        self.say("two brokers paused")
        self.report.two_lost = found = await two_lost(self.fleet, self.cluster)
        await self._until_back()
        await self._until_visible(time.monotonic())
        self.say(f"  {found}")
        if (found.request, found.read) != (503, 200):
            self.run.note([Anomaly("two_lost", "api", str(found))])

    async def _target(self, number: int, turn: Turn) -> str:
        settings = self.fleet.settings
        match turn.subject:
            case "leader":
                partition = number % settings.events_partitions
                return await asyncio.to_thread(self.cluster.leader, settings.events_topic, partition)
            case "coordinator":
                return await asyncio.to_thread(self.cluster.coordinator, settings.consumer_group)
            case "controller":
                return self.cluster.controller()
            case role:
                return processes_of(role)[turn.process]

    def _url_of(self, target: str) -> str | None:
        """Of a struck API process."""
        names = processes_of("api")
        return self.fleet.urls[names.index(target)] if target in names else None

    async def _until_restarted(self, child: Child, pid: int | None) -> None:
        """A broker is restarted once it has joined its cluster again: until then, the others list it as if it ran."""
        said = f"{child.name} runs again, process"
        before = sum(said in line for line in self.fleet.said)
        async with asyncio.timeout(BACK_WITHIN_S):
            while child.pid == pid or sum(said in line for line in self.fleet.said) == before:
                await asyncio.sleep(0.1)

    async def _until_back(self) -> None:
        """Every process has started, every replica is in sync. What is not back is an anomaly."""
        topics = [self.fleet.settings.events_topic, GROUPS_TOPIC]
        if not await self.fleet.until_ready(within_s=READY_WITHIN_S):
            self.run.note([Anomaly("not_ready", "fleet", f"within {READY_WITHIN_S} s")])
        if not await self.cluster.until_in_sync(topics, within_s=BACK_WITHIN_S):
            self.run.note([Anomaly("out_of_sync", "cluster", f"within {BACK_WITHIN_S} s")])

    async def _until_visible(self, since: float) -> None:
        ends = time.monotonic() + BACK_WITHIN_S
        while not self.probe.caught_up(since):
            if time.monotonic() > ends:
                raise TimeoutError(f"an event was not visible within {BACK_WITHIN_S} s")
            await asyncio.sleep(0.1)
