"""The result of a run on the cluster, as a table and as JSON."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from tests.cluster.probe import Gap
from tests.cluster.two_lost import TwoLost
from tests.faults.schedule.report import ScheduleReport


@dataclass(frozen=True, slots=True)
class Struck:
    """One turn. `target`: the process. `gap`: of the events around it. `back_s`: until every process and every replica
    is in its place again. `unready_s`: how long `/readyz` of an API process that was not struck did not answer 200."""

    turn: str
    target: str
    gap: Gap
    back_s: float
    unready_s: float


@dataclass(frozen=True, slots=True)
class AgentsFigures:
    """Of this number of `agents` processes. Milliseconds from the moment that an append was due until a GET had it."""

    agents: int
    events_per_s: float
    load_per_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(slots=True, kw_only=True)
class ClusterReport:
    """`quiet`: the gap without a fault. `events`: folded for each rate."""

    seed: int
    schedule: ScheduleReport | None = None
    quiet: Gap | None = None
    struck: list[Struck] = field(default_factory=list)
    two_lost: TwoLost | None = None
    figures: list[AgentsFigures] = field(default_factory=list)
    events: int = 0

    @property
    def anomalies(self) -> int:
        return 0 if self.schedule is None else len(self.schedule.found)

    def as_json(self) -> str:
        own = asdict(replace(self, schedule=None))
        schedule = None if self.schedule is None else self.schedule.document()
        return json.dumps({**own, "schedule": schedule, "anomalies": self.anomalies, "cpus": os.cpu_count()})

    def as_text(self) -> str:
        """Markdown tables, then what the oracle counted and found."""
        parts = [*gap_table(self), "", *figures_table(self)]
        return "\n".join([*parts, "", self.schedule.as_text()] if self.schedule else parts)


def gap_table(report: ClusterReport) -> list[str]:
    if report.quiet is None:
        return []
    rows = [_gap_row("none", "", report.quiet, 0.0, 0.0)]
    rows += [_gap_row(s.turn, s.target, s.gap, s.back_s, s.unready_s) for s in sorted(report.struck, key=_order)]
    head = "| fault | process | confirmed within, s | visible within, s | partitions | all back after, s | unready, s |"
    return [head, "|---|---|---:|---:|---:|---:|---:|", *rows, *_two_lost(report.two_lost)]


def _order(struck: Struck) -> tuple[bool, str]:
    return not struck.target.startswith("kafka"), struck.turn


def _gap_row(turn: str, target: str, gap: Gap, back_s: float, unready_s: float) -> str:
    cells = (turn, target, f"{gap.confirmed_s:.1f}", f"{gap.visible_s:.1f}", str(gap.partitions))
    return f"| {' | '.join(cells)} | {back_s:.0f} | {unready_s:.1f} |"


def _two_lost(found: TwoLost | None) -> Sequence[str]:
    if found is None:
        return ()
    return (
        "",
        f"Two brokers paused: a request is answered with {found.request} after {found.request_s:.1f} s "
        f"(`Retry-After: {found.retry_after}`), a read with {found.read}, `/readyz` with {found.ready}.",
    )


def figures_table(report: ClusterReport) -> list[str]:
    if not report.figures:
        return []
    rows = [
        f"| {each.agents} | {each.events_per_s:,.0f} | {each.load_per_s:,.0f} | {each.p50_ms:.1f} | "
        f"{each.p99_ms:.1f} | {each.worst_ms:.1f} |"
        for each in report.figures
    ]
    head = "| `agents` | events/s, behind | events/s, live | visible after, p50 ms | p99 ms | worst ms |"
    return [head, "|---:|---:|---:|---:|---:|---:|", *rows]
