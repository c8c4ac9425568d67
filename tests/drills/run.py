"""Runs a drill: load, a disaster, the recovery, quiet, and the evaluation of everything that was promised."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet

from gengui_stream.domain.generation.state import OBJECT_MISSING
from gengui_stream.log.topics import administering
from gengui_stream.settings import Settings, load_settings
from tests.bench.filling import fill
from tests.drills.disasters import DISASTERS, Disaster
from tests.drills.ground import Ground
from tests.faults.schedule.fleet import Fleet, opened_fleet
from tests.faults.schedule.run import READY_WITHIN_S, SchedulePlan, opened_run
from tests.oracle.evidence import Anomaly
from tests.oracle.readers import log_ends, next_offsets

LOST_IMAGES: Final = frozenset({"image_broken", "thumbnail_broken"})
EVENTS_A_GENERATION: Final = 10
PROJECTED_WITHIN_S: Final = 600.0

AGAIN_S: Final = (1.0, 7.0)
"""Often after the next disaster, which takes some seconds."""

EXPECTED_CRASHES: Final = (
    "InvalidCatalogNameError",  # an empty server
    "UndefinedTableError",  # before `migrate`
    "FencedError",  # the checkpoints are those of a backup
    "this record ends the process",
)
"""The ends of processes that the disaster causes: the supervisor starts them again."""

BETWEEN_MIGRATIONS: Final = "UndefinedColumnError"
LOGGED_WITHIN: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlan:
    """`names`: of the disasters, one after the other. `generations`: accepted before the first and after each.
    `events`: on the log before. `fork_server`: of the roles and commands, as in `opened_fleet`."""

    names: Sequence[str]
    seed: int
    generations: int = 8
    events: int = 0
    fork_server: str | None = None


@dataclass(slots=True, kw_only=True)
class DrillReport:
    """`recovered_s`: by disaster, from the destruction until the system is ready and has folded all of the log. `lost`:
    what no recovery brings back. `commands`: of the operator. `found`: broken promises."""

    seed: int
    recovered_s: dict[str, float] = field(default_factory=dict)
    records: int = 0
    accepted: int = 0
    provider_calls: int = 0
    commands: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    found: list[Anomaly] = field(default_factory=list)

    def as_text(self) -> str:
        lines = [
            f"seed {self.seed}: {self.records:,} records, {self.accepted} generations accepted, "
            f"{self.provider_calls} runs at providers; {len(self.found)} broken promises",
            *(f"  {name}: back after {seconds:.1f} s" for name, seconds in self.recovered_s.items()),
            *(f"  $ {command}" for command in self.commands),
            f"  lost: {', '.join(self.lost) or 'none'}",
            *(f"  {anomaly.kind}: {anomaly.subject}: {anomaly.detail}" for anomaly in self.found[:100]),
        ]
        return "\n".join(lines)


async def run_drill(plan: DrillPlan, directory: Path, say: Callable[[str], None]) -> DrillReport:
    """`directory`: empty, for data, logs and backups."""
    report, settings = (
        DrillReport(seed=plan.seed),
        {"ACCOUNTS_DUMP_KEY": Fernet.generate_key().decode()},
    )
    schedule = SchedulePlan(seed=plan.seed, count=0, request_every_s=0.7, again_s=AGAIN_S)
    async with opened_fleet(directory, plan.seed, settings, fork_server=plan.fork_server) as fleet:
        if plan.events:
            await _filled(fleet, plan.events)
        async with opened_run(schedule, fleet, say) as run:
            ground = Ground(fleet, run, directory, say)
            run.resume()
            await ground.more_accepted(plan.generations)
            for name in plan.names:
                report.recovered_s[name] = await _recover(ground, DISASTERS[name])
                await ground.more_accepted(plan.generations)
            await run.settle()
            await run.evaluate_all()
            conclude(report, run.report.found, ground, await ground.resolved_letters())
            report.records, report.accepted = run.report.records, run.report.accepted
            report.provider_calls = run.report.provider_calls
    return report


async def _filled(fleet: Fleet, events: int) -> None:
    """Projected before any client comes, with what dispatchers and workers have appended to them meanwhile."""
    await fill(load_settings(dict(fleet.environ), env_files=()), events // EVENTS_A_GENERATION)
    async with asyncio.timeout(PROJECTED_WITHIN_S):
        while sum((await next_offsets(fleet.settings.database_dsn)).values()) < await _appended(fleet.settings):
            await asyncio.sleep(0.2)
        while await _followed(fleet.settings) < await _appended(fleet.settings):
            await asyncio.sleep(0.5)


async def _appended(settings: Settings) -> int:
    ends = await asyncio.to_thread(log_ends, settings.kafka_bootstrap_servers, settings.events_topic)
    return sum(ends.values())


async def _followed(settings: Settings) -> int:
    """Events that the live tables have: until then they take a core from the recovery."""
    async with administering(settings) as admin:
        offsets = await admin.list_consumer_group_offsets(settings.live_tables_group)
    return sum(found.offset for partition, found in offsets.items() if partition.topic == settings.events_topic)


async def _recover(ground: Ground, disaster: Disaster) -> float:
    """Seconds since the destruction."""
    ground.destroyed_at = 0.0
    await disaster(ground)
    assert await ground.fleet.until_ready(within_s=READY_WITHIN_S)
    await ground.run.projected()
    return round(time.monotonic() - ground.destroyed_at, 1)


def conclude(report: DrillReport, found: list[Anomaly], ground: Ground, resolved: Collection[str]) -> None:
    report.commands = ground.commands
    for anomaly in found:
        if ground.images_lost and anomaly.kind in LOST_IMAGES:
            report.lost.append(f"{anomaly.kind.removesuffix('_broken')} of {anomaly.subject}")
        elif ground.images_lost and anomaly.kind == "thumbnail_failed" and OBJECT_MISSING in anomaly.detail:
            report.lost.append(f"thumbnail of {anomaly.subject}: its image was lost before it was made")
        elif ground.images_lost and anomaly.kind == "objects_left":
            report.lost.append(f"the deletion of {anomaly.subject}: the backup of the store has its image")
        elif anomaly.kind == "crashed" and _is_expected(anomaly.detail, ground):
            continue
        elif anomaly.kind == "stream_gap" and anomaly.subject in resolved:
            report.lost.append(f"{anomaly.subject} on streams that were open: it was a dead letter when it came")
        elif not _of_an_operator(anomaly, resolved):
            report.found.append(anomaly)


def _is_expected(crash: str, ground: Ground) -> bool:
    if BETWEEN_MIGRATIONS in crash:
        at = datetime.fromisoformat(crash.partition(": ")[0])
        return any(began <= at <= ended + LOGGED_WITHIN for began, ended in ground.migrations)
    return any(name in crash for name in EXPECTED_CRASHES)


def _of_an_operator(anomaly: Anomaly, resolved: Collection[str]) -> bool:
    """The oracle knows no operators: it counts a record that was skipped as ignored. `verify` knows them."""
    partitions = {f"partition {position.partition(':')[0]}" for position in resolved}
    match anomaly.kind:
        case "dead_letter" | "unreadable_record":
            return anomaly.subject in resolved
        case "checkpoint_differs":
            return anomaly.subject in partitions
        case _:
            return False
