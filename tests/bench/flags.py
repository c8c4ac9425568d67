"""The cost of one choice by feature flags, by the kind of rule, and the share of GrowthBook's client in it.

python -m tests.bench.flags [--quick]
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Final
from uuid import UUID

from gengui_stream.providers.flags.provider_flags import Flags, UserAttributes
from gengui_stream.providers.flags.rules import Rules, read_rules

PROVIDERS: Final = ("gemini", "local", "runpod")
USERS: Final = [UserAttributes(UUID(int=number), {"plan": "studio"}) for number in range(1, 513)]
FLAG: Final = "image_provider"
MISSES: Final = [{"condition": {"plan": f"plan-{number}"}, "force": "gemini"} for number in range(10)]
EXPERIMENT: Final = {"key": "gemini-or-runpod", "variations": ["gemini", "runpod"], "hashVersion": 2}

CASES: Final[Mapping[str, Mapping[str, object] | None]] = {
    "no flags: the default": None,
    "one value for all users": {FLAG: {"defaultValue": "gemini"}},
    "a rule by attribute": {FLAG: {"rules": [{"condition": {"plan": "studio"}, "force": "gemini"}]}},
    "ten rules that miss, then a value": {FLAG: {"rules": MISSES, "defaultValue": "gemini"}},
    "an experiment": {FLAG: {"rules": [EXPERIMENT]}},
    "a value, among 5,000 other flags": {FLAG: {"defaultValue": "gemini"}}
    | {f"other-{number}": {"defaultValue": number} for number in range(5_000)},
}


def run(quick: bool) -> str:
    return asyncio.run(_section(rounds=3 if quick else 15, calls=2_000 if quick else 20_000))


async def _section(*, rounds: int, calls: int) -> str:
    lines = [
        "| flag | a choice, µs | of it GrowthBook's client, µs | least to most of the rounds, µs |",
        "|---|---:|---:|---:|",
    ]
    for name, features in CASES.items():
        whole, within = await _measured(features, rounds, calls)
        theirs = f"{median(within):.2f}" if within else ""
        lines.append(f"| {name} | {median(whole):.2f} | {theirs} | {min(whole):.2f} to {max(whole):.2f} |")
    return "\n".join([*lines, "", f"Medians of {rounds} rounds of {calls:,} calls, one user after the other."])


async def _measured(
    features: Mapping[str, object] | None, rounds: int, calls: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Microseconds a call in each round, of a whole choice and of the evaluation alone, in turn, so that noise affects
    both."""
    flags = Flags("local", PROVIDERS)
    rules = await read_rules(json.dumps({"features": features}).encode(), None) if features else None
    if rules is not None:
        flags.replace(rules, "server")
    whole, within = list[float](), list[float]()
    for _ in range(rounds):
        whole.append(await _microseconds(lambda user: flags.choose(user, "flux"), calls))
        if rules is not None:
            within.append(await _microseconds(_evaluation(rules), calls))
    return whole, within


def _evaluation(rules: Rules) -> Callable[[UserAttributes], Awaitable[object]]:
    def evaluated(user: UserAttributes) -> Awaitable[object]:
        return rules.evaluate(FLAG, {**user.more, "id": str(user.id), "model": "flux"})

    return evaluated


async def _microseconds(call: Callable[[UserAttributes], Awaitable[object]], calls: int) -> float:
    started = time.perf_counter()
    for number in range(calls):
        await call(USERS[number % len(USERS)])
    return (time.perf_counter() - started) / calls * 1e6


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
