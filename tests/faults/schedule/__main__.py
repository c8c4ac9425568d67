"""`make fault-schedule`: 1,000 kills and pauses over every role and server. Exit code 1: an oracle found an anomaly.

python -m tests.faults.schedule [--count 1000] [--seed N] [--every 2.0] [--round 100] [--json] [--keep DIRECTORY]
"""

import argparse
import asyncio
import random
import sys
from pathlib import Path

from tests.bench.report.progress import say
from tests.faults.schedule.run import SchedulePlan, run_schedule
from tests.faults.schedule.run_directory import run_directory


def main() -> int:
    arguments = _arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    plan = SchedulePlan(seed=seed, count=arguments.count, round=arguments.round, every_s=arguments.every)
    say(f"seed {seed}: {plan.count} faults, {plan.every_s} s apart on average; to repeat them: --seed {seed}")
    with run_directory(arguments.keep, "gengui-schedule-") as directory:
        report = asyncio.run(run_schedule(plan, directory, say))
    sys.stdout.write((report.as_json() if arguments.json else report.as_text()) + "\n")
    return 1 if report.found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.schedule", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="faults")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its faults again")
    parser.add_argument("--every", type=float, default=2.0, help="mean seconds between two faults")
    parser.add_argument("--round", type=int, default=100, help="faults between two evaluations")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--keep", type=Path, help="a new directory for the data and logs, which stay there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
