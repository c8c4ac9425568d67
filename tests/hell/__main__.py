"""`make hell`: the run of 2,000, at each provider in turn. Exit code 1: something is not as promised.

python -m tests.hell [--provider gemini|runpod] [--count 2000] [--seed N] [--json]
"""

import argparse
import random
import sys

import uvloop

from tests.hell.run import Fate, Plan, ProviderName, descend

PROVIDERS: tuple[ProviderName, ...] = ("gemini", "runpod")


def main() -> int:
    arguments = _arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    chosen: tuple[ProviderName, ...] = (arguments.provider,) if arguments.provider else PROVIDERS
    faults = 0
    for provider in chosen:
        fate = uvloop.run(descend(Plan(provider=provider, count=arguments.count, seed=seed), _say))
        print(fate.as_json() if arguments.json else _told(fate), flush=True)
        faults += len(fate.faults())
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hell", description=__doc__)
    parser.add_argument("--provider", choices=PROVIDERS, help="one alone")
    parser.add_argument("--count", type=int, default=2_000, help="generations at each provider")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have it again")
    parser.add_argument("--json", action="store_true", help="one object a provider")
    return parser.parse_args()


def _told(fate: Fate) -> str:
    outcome = "; ".join(fate.faults()) or "every one has ended, none ran twice at once, verify agrees"
    lines = [
        f"{fate.provider}, seed {fate.seed}: {fate.count} generations in {fate.seconds:.0f} s: {outcome}",
        f"  ended: {dict(fate.statuses)}; attempts: {dict(fate.attempts)}; on a fallback: {fate.fallbacks}",
        f"  events: {dict(fate.events)}",
        f"  errors: {dict(fate.errors)}",
        f"  calls: {dict(fate.calls)}",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
