"""`make drill ARGS="lose-postgres"`: a disaster under load, and the recovery. Exit code 1: a promise was broken.

python -m tests.drills NAME… [--seed N] [--generations 8] [--events 0] [--json] [--keep DIRECTORY]
"""

import argparse
import asyncio
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from tests.bench.report.progress import say
from tests.drills.disasters import DISASTERS
from tests.drills.run import DrillPlan, run_drill
from tests.faults.schedule.run_directory import run_directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("names", nargs="+", choices=DISASTERS, metavar="NAME", help=", ".join(DISASTERS))
    parser.add_argument("--seed", type=int, help="of an earlier drill, to have its requests again")
    parser.add_argument("--generations", type=int, default=8, help="accepted before the first disaster, and after each")
    parser.add_argument("--events", type=int, default=0, help="on the log before the disaster")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--keep", type=Path, help="a new directory for the data and logs, which stay there")
    given = parser.parse_args()
    seed = random.randrange(2**32) if given.seed is None else given.seed
    plan = DrillPlan(names=given.names, seed=seed, generations=given.generations, events=given.events)
    with run_directory(given.keep, "gengui-drill-") as directory:
        report = asyncio.run(run_drill(plan, directory, say))
    sys.stdout.write((json.dumps(asdict(report)) if given.json else report.as_text()) + "\n")
    return 1 if report.found else 0


if __name__ == "__main__":
    sys.exit(main())
