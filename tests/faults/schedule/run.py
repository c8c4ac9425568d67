"""Runs a schedule in rounds: faults under load, then quiet, in which everything has to end and the oracle evaluates."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp

from tests.faults.schedule.clients import Clients
from tests.faults.schedule.crashes import crashes
from tests.faults.schedule.fleet import Fleet, opened_fleet
from tests.faults.schedule.plan import Fault, schedule
from tests.faults.schedule.report import ScheduleReport
from tests.faults.schedule.stream import Subscriber
from tests.oracle.api_reader import ApiReader
from tests.oracle.evaluate import evaluate
from tests.oracle.evidence import Anomaly, Evidence
from tests.oracle.readers import jobs_and_timeline, log_ends, next_offsets, owner_of, read_log, read_tables
from tests.oracle.rules import interpret

ALIVE_WITHIN_S: Final = 90.0
READY_WITHIN_S: Final = 180.0
ENDED_WITHIN_S: Final = 330.0
"""The deadline of a generation, and what follows it: the reconciliation, and the thumbnail or the deletion."""

SETTLED_WITHIN_S: Final = 120.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """`round`: faults between two evaluations. `every_s`: the mean gap between faults. `request_every_s`: between the
    requests of clients. `again_s`: at least and at most, from the end of a generation until its client polls it again.
    `fork_server`: of the roles, as in `opened_fleet`."""

    seed: int
    count: int
    round: int = 100
    every_s: float = 2.0
    request_every_s: float = 1.0
    again_s: tuple[float, float] = (2.0, 20.0)
    fork_server: str | None = None


async def run_schedule(
    plan: SchedulePlan, directory: Path, say: Say, given: Mapping[str, str] = MappingProxyType({})
) -> ScheduleReport:
    """`directory`: empty, for the data and the logs. `given`: further settings of the system."""
    began = time.monotonic()
    async with (
        opened_fleet(directory, plan.seed, given, fork_server=plan.fork_server) as fleet,
        opened_run(plan, fleet, say) as run,
    ):
        await run.rounds()
        await run.evaluate_all()
        report = run.report
    report.seconds = round(time.monotonic() - began, 1)
    return report


@asynccontextmanager
async def opened_run(plan: SchedulePlan, fleet: Fleet, say: Say) -> AsyncIterator["ScheduleRun"]:
    evidence = Evidence()
    evidence.seen.owner_id = await owner_of(fleet.settings.database_dsn, "demo@example.com")
    clients = Clients(
        fleet.urls,
        fleet.keys["demo"],
        evidence.seen,
        plan.seed,
        every_s=plan.request_every_s,
        again_s=plan.again_s,
    )
    subscriber = Subscriber(fleet.urls, fleet.keys["demo"], evidence.seen)
    if not await fleet.until_ready(within_s=READY_WITHIN_S):
        raise TimeoutError(f"not ready within {READY_WITHIN_S} s: {fleet.said[-5:]}")
    tasks = [asyncio.ensure_future(clients.run()), asyncio.ensure_future(subscriber.run())]
    async with AsyncExitStack() as exits:
        http = await exits.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        try:
            yield ScheduleRun(plan, fleet, evidence, clients=clients, subscriber=subscriber, http=http, say=say)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


class ScheduleRun:
    """One schedule on one fleet."""

    def __init__(
        self,
        plan: SchedulePlan,
        fleet: Fleet,
        evidence: Evidence,
        *,
        clients: Clients,
        subscriber: Subscriber,
        http: aiohttp.ClientSession,
        say: Say,
    ) -> None:
        self.report = ScheduleReport(seed=plan.seed, count=plan.count)
        self._plan, self._fleet, self._clients, self._subscriber = plan, fleet, clients, subscriber
        self._evidence, self._http, self._say = evidence, http, say
        self._reader = ApiReader(http, fleet.url, fleet.keys["demo"])
        self._dsn, self._brokers = fleet.settings.database_dsn, fleet.settings.kafka_bootstrap_servers

    async def rounds(self) -> None:
        plan, fleet = self._plan, self._fleet
        faults = schedule(plan.seed, plan.count, roles=fleet.roles, servers=fleet.servers, every_s=plan.every_s)
        evaluated: set[str] = set()
        while batch := list(islice(faults, plan.round)):
            await self._round(iter(batch))
            await self._evaluate(only=self._accepted_ids() - evaluated)
            evaluated |= self._accepted_ids()

    @property
    def accepted(self) -> int:
        return len(self._evidence.seen.accepted)

    def resume(self) -> None:
        """Clients request generations from now on."""
        self._clients.resume()

    async def _round(self, faults: Iterator[Fault]) -> None:
        self.resume()
        async with asyncio.TaskGroup() as pauses:
            for fault in faults:
                await asyncio.sleep(fault.gap_s)
                await self.strike(fault, pauses)
        await self.settle()

    async def settle(self) -> None:
        """No further requests, and time for all that was requested to end."""
        self._clients.hold()
        if not await self._fleet.until_ready(within_s=READY_WITHIN_S):
            self.note([Anomaly("not_ready", "fleet", f"{READY_WITHIN_S} s after the last fault")])
        await self._until(self._all_ended, ENDED_WITHIN_S)
        await self._until(self._is_settled, SETTLED_WITHIN_S)

    async def strike(self, fault: Fault, pauses: asyncio.TaskGroup) -> None:
        """Waits for a process to strike: the supervisor may be about to restart it."""
        if not await self._fleet.until_alive(fault.target, within_s=ALIVE_WITHIN_S):
            self.note([Anomaly("not_restarted", fault.target, f"within {ALIVE_WITHIN_S} s, before {fault}")])
            return
        if fault.kind == "kill":
            self._fleet.signal(fault.target, signal.SIGKILL)
        else:
            self._fleet.signal(fault.target, signal.SIGSTOP)
            pauses.create_task(self._wake(fault))
        self.report.struck(fault)
        self._say(
            f"{fault.number} of {self._plan.count}: {fault}; open: {self._clients.open}, "
            f"accepted: {len(self._evidence.seen.accepted)}, anomalies: {len(self.report.found)}"
        )

    async def _wake(self, fault: Fault) -> None:
        await asyncio.sleep(fault.pause_s)
        self._fleet.signal(fault.target, signal.SIGCONT)

    async def _until(self, condition: "Callable[[], object]", within_s: float) -> None:
        """Returns after the wait in any case: what is left is an anomaly, which the oracle names."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.5)

    async def projected(self) -> None:
        """Until the projections have all that the log has by now."""
        ends = await asyncio.to_thread(log_ends, self._brokers, self._fleet.settings.events_topic)

        async def reached() -> bool:
            offsets = await next_offsets(self._dsn)
            return all(offsets.get(partition, 0) >= end for partition, end in ends.items())

        await self._until(reached, SETTLED_WITHIN_S)

    def _all_ended(self) -> bool:
        return not self._clients.busy

    async def _is_settled(self) -> bool:
        """The log is projected to its end, no job is left, and the stream has every event."""
        try:
            ends = await asyncio.to_thread(log_ends, self._brokers, self._fleet.settings.events_topic)
            offsets = await next_offsets(self._dsn)
            jobs, events = await jobs_and_timeline(self._dsn, self._evidence.seen.owner_id)
        except (OSError, TimeoutError):
            return False
        seen = self._evidence.seen
        streamable = sum(offset > seen.stream_start.get(partition, -1) for partition, offset in events)
        projected = all(offsets.get(partition, 0) >= end for partition, end in ends.items())
        return projected and jobs == 0 and len(seen.streamed) >= streamable

    def _accepted_ids(self) -> set[str]:
        return {accepted.generation_id for accepted in self._evidence.seen.accepted.values()}

    async def evaluate_all(self) -> None:
        """Every generation of the run, and the system's own check of itself."""
        await self._evaluate(only=self._accepted_ids())
        if (difference := await self._verify()) is not None:
            self.note([Anomaly("verify_disagrees", "gengui-stream verify", difference)])
        self._summarize()

    async def _evaluate(self, only: set[str]) -> None:
        evidence = self._evidence
        evidence.answers, evidence.histories = {}, {}
        evidence.log = await asyncio.to_thread(read_log, self._brokers, self._fleet.settings.events_topic)
        evidence.tables = await read_tables(self._dsn)
        evidence.calls, evidence.overlaps = self._fleet.provider_calls(), dict(self._fleet.runs.overlaps)
        await self._reader.fill(evidence, only)
        anomalies = evaluate(evidence)
        for role, child in self._fleet.supervisor.roles.items():
            anomalies += crashes(role, child.log.read_text(errors="replace").splitlines())
        self.note(anomalies)
        self._say(f"evaluated {len(evidence.log)} records: {len(anomalies)} anomalies")

    def note(self, anomalies: list[Anomaly]) -> None:
        for anomaly in self.report.add(anomalies):
            self._say(f"ANOMALY {anomaly.kind}: {anomaly.subject}: {anomaly.detail}")

    async def _verify(self) -> str | None:
        """What `gengui-stream verify` says when it disagrees."""
        code, output = await self._fleet.commands.run("verify", "--json")
        return output[-500:] if code else None

    def _summarize(self) -> None:
        report, evidence, seen = self.report, self._evidence, self._evidence.seen
        stories = interpret(evidence.log).values()
        report.accepted, report.records = len(seen.accepted), len(evidence.log)
        report.statuses = Counter(story.status for story in stories)
        report.attempts = Counter(story.attempt for story in stories)
        report.responses = self._clients.statuses
        report.streamed, report.stream_connections = len(seen.streamed), self._subscriber.connections
        report.provider_calls = len(evidence.calls)
        report.restarts = sum("runs again" in line for line in self._fleet.said)
        report.pictures, report.thumbnails = len(evidence.pictures), len(evidence.thumbnails)
        report.cancels, report.deletions = len(seen.cancels), len(seen.deleted)
        report.load_average = os.getloadavg()
