"""Generations at fake providers that fail in every way: how each ended, and whether any ran twice concurrently."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import aiohttp

from gengui_stream.domain.generation.state import TERMINAL
from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.gemini.script import READY as GEMINI
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.fakes.runpod.script import READY as RUNPOD
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.postgres.pool import Pool, opened_pool
from tests.bench.system import System, opened_system, port_for_a_fake, roles_started

ProviderName: TypeAlias = Literal["gemini", "runpod"]

ROLES: Final = ("api", "agents", "dispatch", "thumbnails")
AT_ONCE: Final = 16
DEADLINE_S: Final = 300
LOOK_EVERY_S: Final = 1.0
KEY: Final = "of-the-fake"
SETTINGS: Final = {
    "GENERATION_DEADLINE_S": str(DEADLINE_S),
    "JOB_LEASE_S": "5",
    "GEMINI_API_KEY": KEY,
    "GEMINI_TIMEOUT_S": "5",
    "GEMINI_CALLS_AT_ONCE": "32",
    "RUNPOD_API_KEY": KEY,
    "RUNPOD_ENDPOINT_ID": "chaos",
    "RUNPOD_TTL_S": "120",
    "WEBHOOK_SECRET": "a secret of the run alone, longer than it need be",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`provider`: the requested provider; the other one is its fallback."""

    provider: ProviderName
    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosReport:
    """The ends of all generations. `overlaps`: generations with two concurrent runs, of which there must be none."""

    provider: str
    count: int
    seed: int
    seconds: float
    statuses: Mapping[str, int]
    attempts: Mapping[str, int]
    errors: Mapping[str, int]
    events: Mapping[str, int]
    fallbacks: int
    calls: Mapping[str, int]
    overlaps: Mapping[str, int]
    verified: bool

    def faults(self) -> list[str]:
        """Empty if every promise was kept."""
        open_ones = {status: number for status, number in self.statuses.items() if status not in TERMINAL}
        found = {
            f"not ended: {open_ones}": bool(open_ones),
            f"{sum(self.statuses.values())} of {self.count} generations are there": sum(self.statuses.values())
            != self.count,
            f"ran twice at once: {dict(self.overlaps)}": bool(self.overlaps),
            "verify disagrees": not self.verified,
        }
        return [text for text, is_so in found.items() if is_so]

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "faults": self.faults()})


async def run_chaos(
    plan: Plan, say: Callable[[str], None] = lambda _: None, given: Mapping[str, str] = MappingProxyType({})
) -> ChaosReport:
    """Two dispatchers, so that they compete. `given`: further settings of the system."""
    began = time.monotonic()
    async with _opened(plan, given) as (system, calls, runs):
        async with opened_pool(system.settings, size=2) as pool, aiohttp.ClientSession() as http:
            say(f"{plan.provider}: {plan.count} generations, seed {plan.seed}")
            await _submit(system, http, plan)
            await _until_ended(pool, plan.count, say)
            report = await _report(pool, plan)
        verified = await _verified(system)
    seconds = round(time.monotonic() - began, 1)
    return replace(report, seconds=seconds, calls=calls(), overlaps=dict(runs.overlaps), verified=verified)


@asynccontextmanager
async def _opened(
    plan: Plan, given: Mapping[str, str]
) -> AsyncIterator[tuple[System, Callable[[], Mapping[str, int]], Runs]]:
    runs, runpod_port = Runs(), port_for_a_fake()
    async with AsyncExitStack() as stack:
        gemini = await stack.enter_async_context(fake_gemini(GEMINI["chaos"], seed=plan.seed, key=KEY, runs=runs))
        own = {
            "DEFAULT_PROVIDER": plan.provider,
            "PROVIDER_FALLBACKS": "runpod" if plan.provider == "gemini" else "gemini",
            "GEMINI_BASE_URL": gemini.url,
            "RUNPOD_BASE_URL": f"http://127.0.0.1:{runpod_port}",
        }
        system = await stack.enter_async_context(opened_system(**{**SETTINGS, **own, **given}))
        runpod = await stack.enter_async_context(
            fake_runpod(RUNPOD["chaos"], seed=plan.seed, key=KEY, runs=runs, settings=system.settings, port=runpod_port)
        )
        await stack.enter_async_context(roles_started(system, ROLES))
        await stack.enter_async_context(roles_started(system, ("dispatch",)))

        def calls() -> Mapping[str, int]:
            counts = Counter(f"gemini: {call.did or 'as usual'}" for call in gemini.calls)
            counts.update(f"runpod {call.operation}: {call.did or 'as usual'}" for call in runpod.calls)
            return dict(sorted(counts.items()))

        yield system, calls, runs


async def _submit(system: System, http: aiohttp.ClientSession, plan: Plan) -> None:
    """Prompts differ, so that the seed gives each its own faults; sizes are small, as drawing is not under test."""
    numbers = iter(range(plan.count))
    headers = {"Authorization": f"Bearer {system.key}"}

    async def one_after_another() -> None:
        for number in numbers:
            wanted = {"prompt": f"circle {number} of {plan.seed}", "seed": number, "width": 512, "height": 512}
            async with http.post(f"{system.url}/v1/generations", json=wanted, headers=headers) as response:
                if response.status != 202:
                    raise RuntimeError(f"{response.status}: {await response.text()}")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())


async def _until_ended(pool: Pool, count: int, say: Callable[[str], None]) -> None:
    """Returns when all have ended, or should have: an open one is then a finding."""
    ends = time.monotonic() + DEADLINE_S + 60
    while time.monotonic() < ends:
        ended = await pool.fetchval(
            "SELECT count(*) FROM projections.generation_states WHERE status = ANY($1)", [*TERMINAL]
        )
        say(f"{ended} of {count} have ended")
        if ended == count:
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def _report(pool: Pool, plan: Plan) -> ChaosReport:
    async def counted(query: str) -> dict[str, int]:
        return {str(row[0]): int(row[1]) for row in await pool.fetch(query)}

    return ChaosReport(
        provider=plan.provider,
        count=plan.count,
        seed=plan.seed,
        seconds=0.0,
        statuses=await counted("SELECT status, count(*) FROM projections.generation_states GROUP BY 1 ORDER BY 2 DESC"),
        attempts=await counted("SELECT attempt, count(*) FROM projections.generation_states GROUP BY 1 ORDER BY 1"),
        events=await counted(
            "SELECT type, count(*) FROM projections.timeline WHERE ignored IS NULL GROUP BY 1 ORDER BY 1"
        ),
        errors=await counted(
            "SELECT error::json->>'code', count(*) FROM projections.generation_states WHERE error IS NOT NULL "
            "GROUP BY 1 ORDER BY 1"
        ),
        fallbacks=await pool.fetchval(
            "SELECT count(*) FROM projections.timeline WHERE type = 'generation.dispatched' "
            "AND payload::json->>'fallback_reason' IS NOT NULL"
        ),
        calls={},
        overlaps={},
        verified=False,
    )


async def _verified(system: System) -> bool:
    command = [sys.executable, "-m", "gengui_stream.cli", "verify", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, env=system.whole_environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await process.communicate()
    return process.returncode == 0
