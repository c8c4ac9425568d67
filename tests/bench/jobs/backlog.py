"""What a long queue costs while it waits for a slow provider, and whether it delays another provider.

python -m tests.bench.jobs.backlog [--quick]
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import uvloop

from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.scripts import Rule
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, opened_pool
from schemas.events import GenerationRequested
from tests.bench.system import cpu_s, opened_system, projected, roles_started

KEY: Final = "of-the-fake"
CALLS: Final = 4
CALL_S: Final = 20.0
UPDATES_GOAL: Final = 50.0
CPU_GOAL: Final = 0.01
CHUNK: Final = 2_000

STATISTICS_S: Final = 12.0
"""An idle connection reports what it has written after ten seconds."""

UPDATES: Final = "SELECT sum(n_tup_upd)::bigint FROM pg_stat_user_tables"

WAITING: Final = """
SELECT generation_id FROM jobs.jobs WHERE kind = 'dispatch' AND provider = 'gemini' ORDER BY available_at, generation_id
"""


@dataclass(frozen=True, slots=True)
class Place:
    """`order`: the waiting generations, the oldest first."""

    pool: Pool
    log: EventLog
    gemini: GeminiServer
    order: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Cost:
    """While `waiting` jobs waited: rows updated a second, the dispatcher's share of a core, calls that began. `delay_s`
    of a job of another provider, from its request to its dispatch. `ordered`: the oldest were called first."""

    waiting: int
    updates_per_s: float
    core: float
    calls: int
    delay_s: float
    ordered: bool


def run(quick: bool) -> str:
    return section(uvloop.run(measure(2_000 if quick else 20_000, 10 if quick else 60)))


async def measure(jobs: int, seconds: float) -> Cost:
    script = GeminiScript(rules=(Rule(then=Images(seconds=CALL_S)),), image_side_max=64)
    async with (
        fake_gemini(script, seed=1, key=KEY) as gemini,
        opened_system(
            GEMINI_API_KEY=KEY,
            GEMINI_BASE_URL=gemini.url,
            GEMINI_CALLS_AT_ONCE=str(CALLS),
            GENERATION_DEADLINE_S="3600",
        ) as system,
        opened_pool(system.settings, size=2) as pool,
        EventLog(system.settings) as log,
        roles_started(system, ["agents"]),
    ):
        positions: list[Position] = []
        for _ in range(jobs // CHUNK):
            positions += await log.append_many([_request("gemini") for _ in range(CHUNK)])
        await projected(pool, system.settings, positions)
        order = [row["generation_id"] for row in await pool.fetch(WAITING)]
        async with roles_started(system, ["dispatch"]) as pids:
            return await _cost(Place(pool, log, gemini, order), pids["dispatch"], seconds)


async def _cost(place: Place, pid: int, seconds: float) -> Cost:
    pool, gemini = place.pool, place.gemini
    await _called(gemini, CALLS)
    await asyncio.sleep(STATISTICS_S)
    updates, cpu, calls, began = await pool.fetchval(UPDATES), cpu_s(pid), len(gemini.calls), time.perf_counter()
    await asyncio.sleep(seconds)
    lasted = time.perf_counter() - began
    core, later = (cpu_s(pid) - cpu) / lasted, len(gemini.calls)
    updated = await pool.fetchval(UPDATES) - updates
    called = [call.generation for call in gemini.calls]
    return Cost(
        waiting=len(place.order),
        updates_per_s=updated / lasted,
        core=core,
        calls=later - calls,
        delay_s=await _delay(pool, place.log),
        ordered=_in_order(called, [str(each) for each in place.order]),
    )


def _in_order(called: Sequence[str], order: Sequence[str]) -> bool:
    """Calls of one claim are made at once, and may arrive in any order."""
    return all(abs(order.index(generation) - number) < CALLS for number, generation in enumerate(called))


async def _called(gemini: GeminiServer, calls: int) -> None:
    async with asyncio.timeout(60):
        while len(gemini.calls) < calls:
            await asyncio.sleep(0.05)


async def _delay(pool: Pool, log: EventLog) -> float:
    request, began = _request("local"), time.perf_counter()
    await log.append(request)
    dispatched = "SELECT status <> 'queued' FROM projections.generation_states WHERE generation_id = $1"
    async with asyncio.timeout(60):
        while not await pool.fetchval(dispatched, request.generation_id):
            await asyncio.sleep(0.005)
    return time.perf_counter() - began


def _request(provider: str) -> GenerationRequested:
    generation_id = new_id()
    return GenerationRequested(
        id=generation_id,
        generation_id=generation_id,
        attempt=1,
        occurred_at=datetime.now(UTC),
        producer="bench",
        owner_id=new_id(),
        prompt="a lighthouse",
        seed=1,
        width=512,
        height=512,
        model="gemini-3.1-flash-image" if provider == "gemini" else "local-sketch",
        provider=provider,
        max_attempts=3,
    )


def section(cost: Cost) -> str:
    order = "the oldest first" if cost.ordered else "**not the oldest first**"
    figures = (f"{cost.updates_per_s:.1f}", f"{cost.core:.2%}", f"{cost.delay_s * 1e3:.0f}")
    return "\n".join(
        [
            f"One `dispatch` and one `agents`; {cost.waiting:,} jobs wait for a provider that takes {CALLS} calls at a "
            f"time, each {CALL_S:g} s long. Rows updated are those of every table, by every role.",
            "",
            "| waiting | calls | rows updated/s | of a core, `dispatch` | another provider's job, ms |",
            "|---:|---:|---:|---:|---:|",
            f"| {cost.waiting:,} | {cost.calls} | {' | '.join(figures)} |",
            "",
            f"- Goal: fewer than {UPDATES_GOAL:.0f} rows updated a second: {_met(cost.updates_per_s < UPDATES_GOAL)}.",
            f"- Goal: less than {CPU_GOAL:.0%} of a core: {_met(cost.core < CPU_GOAL)}.",
            f"- Called: {order}.",
        ]
    )


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
