"""`make test-cluster`: three brokers under the whole system. Exit code 1: the oracle found an anomaly.

python -m tests.cluster [--seed N] [--seconds 20] [--short] [--only turns|figures] [--json] [--keep DIRECTORY]
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.fold.measurement import Load
from tests.bench.report.progress import say
from tests.cluster.figures import measure_agents
from tests.cluster.report import ClusterReport
from tests.cluster.run import ClusterPlan, logs_to_stderr, run_cluster
from tests.cluster.turns import short_turns, turns
from tests.faults.schedule.run_directory import run_directory

EVENTS_A_SECOND: Final = 10_000
"""Folded for the rate, for each second of `--seconds`."""

ROUNDS: Final = 3
BEGAN: Final = time.monotonic()


def main() -> int:
    arguments = _arguments()
    logs_to_stderr()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}; to repeat it: --seed {seed}")
    with run_directory(arguments.keep, "gengui-cluster-") as directory:
        report = asyncio.run(_run(arguments, seed, directory))
    sys.stdout.write((report.as_json() if arguments.json else report.as_text()) + "\n")
    return 1 if report.anomalies else 0


async def _run(arguments: argparse.Namespace, seed: int, directory: Path) -> ClusterReport:
    report = ClusterReport(seed=seed)
    if arguments.only != "figures":
        taken = short_turns(seed) if arguments.short else turns(seed)
        plan = ClusterPlan(seed=seed, turns=taken, quiet_s=arguments.seconds / 2)
        report = await run_cluster(plan, directory / "turns", _say)
    if arguments.only != "turns":
        load = Load(int(arguments.seconds * EVENTS_A_SECOND / 10), 1 if arguments.short else ROUNDS, 0.0)
        report.events = load.events
        report.figures = await measure_agents(directory / "figures", load, arguments.seconds, _say)
    return report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its turns again")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of freshness")
    parser.add_argument("--short", action="store_true", help="four turns, one round of each measurement")
    parser.add_argument("--only", choices=("turns", "figures"), help="leave the other part out")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--keep", type=Path, help="a new directory for the data and logs, which stay there")
    return parser.parse_args()


def _say(text: str) -> None:
    say(f"{time.monotonic() - BEGAN:6.1f} {text}")


if __name__ == "__main__":
    sys.exit(main())
