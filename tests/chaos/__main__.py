"""`make chaos`: 2,000 generations at each fake provider in turn. Exit code 1: a promise was broken.

python -m tests.chaos [--provider gemini|runpod] [--count 2000] [--seed N] [--json]
"""

import argparse
import random
import sys

import uvloop

from tests.bench.report.progress import say
from tests.chaos.run import ChaosReport, Plan, ProviderName, run_chaos

PROVIDERS: tuple[ProviderName, ...] = ("gemini", "runpod")


def main() -> int:
    arguments = _arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    chosen: tuple[ProviderName, ...] = (arguments.provider,) if arguments.provider else PROVIDERS
    faults = 0
    for provider in chosen:
        report = uvloop.run(run_chaos(Plan(provider=provider, count=arguments.count, seed=seed), say))
        print(report.as_json() if arguments.json else _told(report), flush=True)
        faults += len(report.faults())
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--provider", choices=PROVIDERS, help="one alone")
    parser.add_argument("--count", type=int, default=2_000, help="generations at each provider")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have it again")
    parser.add_argument("--json", action="store_true", help="one object a provider")
    return parser.parse_args()


def _told(report: ChaosReport) -> str:
    outcome = "; ".join(report.faults()) or "every one has ended, none ran twice at once, verify agrees"
    lines = [
        f"{report.provider}, seed {report.seed}: {report.count} generations in {report.seconds:.0f} s: {outcome}",
        f"  ended: {dict(report.statuses)}; attempts: {dict(report.attempts)}; on a fallback: {report.fallbacks}",
        f"  events: {dict(report.events)}",
        f"  errors: {dict(report.errors)}",
        f"  calls: {dict(report.calls)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
