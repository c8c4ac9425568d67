"""Three brokers under the whole system: what is lost with one of them, and what one, two and three `agents` do.

python -m tests.bench.cluster [--quick]
"""

import asyncio
import random
import sys
from pathlib import Path
from typing import Final

from gengui_stream.dev.postgres.data_directory import temporary_directory
from tests.bench.fold.measurement import Load
from tests.bench.report.progress import say
from tests.cluster.figures import EVENTS_PER_S, PARTITIONS, measure_agents
from tests.cluster.probe import EVERY_S
from tests.cluster.report import ClusterReport, figures_table, gap_table
from tests.cluster.run import ClusterPlan, logs_to_stderr, run_cluster
from tests.cluster.turns import BESIDES, BROKER_PAUSE_S, ROLE_PAUSE_S, short_turns, turns

FULL: Final = Load(50_000, 3, 0.0)
QUICK: Final = Load(2_000, 1, 0.0)


def run(quick: bool) -> str:
    logs_to_stderr()
    return section(asyncio.run(measure(quick=quick)))


async def measure(*, quick: bool) -> ClusterReport:
    """Raises RuntimeError when the oracle finds an anomaly: the figures then mean nothing."""
    seed = random.randrange(2**32)
    load, seconds = (QUICK, 10.0) if quick else (FULL, 60.0)
    with temporary_directory("gengui-cluster-") as name:
        directory = Path(name)
        plan = ClusterPlan(seed=seed, turns=short_turns(seed) if quick else turns(seed), quiet_s=seconds / 2)
        report = await run_cluster(plan, directory / "turns", _say)
        if report.anomalies:
            raise RuntimeError(report.as_text())
        report.figures = await measure_agents(directory / "figures", load, seconds, _say)
        report.events = load.events
    return report


def _say(text: str) -> None:
    say(f"  {text}")


FURTHER: Final = ", ".join(f"`{name}`" for name in BESIDES)
METHOD: Final = f"""\
Three brokers, each also a controller (`broker.session.timeout.ms=3000`), every topic with three replicas and
`min.insync.replicas=2`. First the whole system under requests, one process of each role, and {FURTHER}
beside them, while one process after the other is killed, or paused for {ROLE_PAUSE_S:.0f} s, and a broker for
{BROKER_PAUSE_S:.0f} s. A probe appends an event to each partition every {EVERY_S * 1000:.0f} ms, one after the
other, with the API's producer, and looks every 20 ms whether PostgreSQL has it: the longest time since an event was
due. `partitions`: where an event took longer than a second. `unready`: how long `/readyz` of an API process that was
not struck did not answer 200. At the end an oracle of its own and `gengui-stream verify` compare everything."""


def section(report: ClusterReport) -> str:
    found = report.schedule
    assert found is not None
    counted = (
        f"{found.accepted:,} generations accepted, {found.records:,} records, {found.restarts} restarts; nothing lost "
        f"or twice, `verify` agrees. Seed {report.seed}."
    )
    return "\n".join(
        [
            METHOD,
            "",
            *gap_table(report),
            "",
            counted,
            "",
            f"Then `agents` alone on these brokers, {PARTITIONS} partitions. Behind: {report.events:,} events that are "
            f"on the log, medians of the rounds. Live: beside {EVENTS_PER_S} events/s, as in",
            "[From an append to what a reader sees](#from-an-append-to-what-a-reader-sees).",
            "",
            *figures_table(report),
        ]
    )


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
