"""Dispatch and reconciliation with fake providers: the delay of a call, the number of attempts that one process holds,
and the delay of the next attempt after a silent failure.

python -m tests.bench.jobs.dispatching [--quick]
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import aiohttp
import uvloop

from gengui_stream.fakes.gemini.script import GeminiScript, Images
from gengui_stream.fakes.gemini.server import GeminiServer, fake_gemini
from gengui_stream.fakes.runpod.script import JobLife, RunpodBehaviour, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.fakes.scripts import Rule, When
from gengui_stream.postgres.pool import Pool, opened_pool
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, opened_system, port_for_a_fake, roles_started, rss_mib

KEY: Final = "of-the-fake"
PER_S: Final = 20.0
ROLES: Final = ("api", "agents", "dispatch")
LOST: Final = Rule[RunpodBehaviour](when=When(nth_of_generation=1), then=JobLife(end="lost"))


@dataclass(frozen=True, slots=True)
class Place:
    """The system and the fakes of one measurement."""

    system: System
    pool: Pool
    http: aiohttp.ClientSession
    gemini: GeminiServer
    runpod: RunpodServer
    pids: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """The number of concurrent attempts, and the memory of their process in MiB: at rest, and the maximum with them."""

    provider: str
    count: int
    at_rest_mib: float
    most_mib: float


def run(quick: bool) -> str:
    return uvloop.run(_section(quick))


async def _section(quick: bool) -> str:
    async with _opened() as place:
        overheads = {name: await _overhead(place, name, 8 if quick else 60) for name in ("gemini", "runpod")}
        retried = await _silent_failures(place, 20 if quick else 200)
    held = [await _held(provider, 100 if quick else 1_000) for provider in ("gemini", "runpod")]
    return "\n".join([*_overhead_lines(overheads), "", *_retry_lines(retried), "", *_held_lines(held)])


@asynccontextmanager
async def _opened() -> AsyncIterator[Place]:
    runpod_port = port_for_a_fake()
    async with AsyncExitStack() as stack:
        gemini = await stack.enter_async_context(fake_gemini(GeminiScript(image_side_max=64), seed=1, key=KEY))
        system = await stack.enter_async_context(
            opened_system(
                GEMINI_API_KEY=KEY,
                GEMINI_BASE_URL=gemini.url,
                GEMINI_CALLS_AT_ONCE="1000",
                RUNPOD_API_KEY=KEY,
                RUNPOD_ENDPOINT_ID="bench",
                RUNPOD_BASE_URL=f"http://127.0.0.1:{runpod_port}",
                WEBHOOK_SECRET="of the measurement, and longer than it need be",
            )
        )
        runpod = await stack.enter_async_context(
            fake_runpod(RunpodScript(image_side_max=64), seed=1, key=KEY, settings=system.settings, port=runpod_port)
        )
        pool = await stack.enter_async_context(opened_pool(system.settings, size=2))
        http = await stack.enter_async_context(
            aiohttp.ClientSession(system.url, headers={"Authorization": f"Bearer {system.key}"})
        )
        pids = await stack.enter_async_context(roles_started(system, ROLES))
        yield Place(system, pool, http, gemini, runpod, pids)


async def _create(place: Place, provider: str, number: int) -> str:
    wanted = {"prompt": f"measured {number} {random.random()}", "provider": provider, "width": 512, "height": 512}
    async with place.http.post("/v1/generations", json=wanted) as response:
        response.raise_for_status()
        return str((await response.json())["id"])


async def _ended(place: Place, ids: Sequence[str], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while await _number(place, ids, "ended_at IS NOT NULL") < len(ids):
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise TimeoutError(f"{seconds:.0f} s after the last: {await _not_ended(place, ids)}") from error


async def _not_ended(place: Place, ids: Sequence[str]) -> str:
    query = """SELECT count(*), status, attempt, min(generation_id::text) AS one FROM projections.generation_states
    WHERE generation_id = ANY($1::uuid[]) AND ended_at IS NULL GROUP BY status, attempt"""
    return ", ".join(str(dict(row)) for row in await place.pool.fetch(query, list(ids)))


async def _number(place: Place, ids: Sequence[str], what: str) -> int:
    query = f"SELECT count(*) FROM projections.generation_states WHERE generation_id = ANY($1::uuid[]) AND {what}"
    return int(await place.pool.fetchval(query, list(ids)))


async def _overhead(place: Place, provider: str, seconds: float) -> Sequence[float]:
    """Milliseconds from the append of a request until the provider receives the call, at random moments."""
    ids = [await _create(place, provider, number) for number in range(20)]  # connections, caches
    due, ends = time.perf_counter(), time.perf_counter() + seconds
    asked: list[asyncio.Task[str]] = []
    while (due := due + random.expovariate(PER_S)) < ends:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.ensure_future(_create(place, provider, len(asked))))
    measured = await asyncio.gather(*asked)
    await _ended(place, [*ids, *measured], 60)
    server: GeminiServer | RunpodServer = place.gemini if provider == "gemini" else place.runpod
    epoch = time.time() - time.monotonic()
    called = {call.generation: call.at + epoch for call in server.calls if call.operation in {"generate", "run"}}
    appended = await _moments(place, measured, "generation.requested")
    return [(called[id_] - appended[id_].timestamp()) * 1000 for id_ in measured]


async def _moments(place: Place, ids: Sequence[str], type_: str) -> dict[str, datetime]:
    query = """SELECT generation_id, min(appended_at) AS at FROM projections.timeline
    WHERE generation_id = ANY($1::uuid[]) AND type = $2 AND ignored IS NULL GROUP BY 1"""
    return {str(row["generation_id"]): row["at"] for row in await place.pool.fetch(query, list(ids), type_)}


async def _silent_failures(place: Place, count: int) -> Sequence[float]:
    """Seconds from the moment when a job vanished at RunPod, which sends no webhook, to the next attempt's event."""
    place.runpod.play(RunpodScript(rules=(LOST,), image_side_max=64))
    before = len(place.runpod.calls)
    ids = []
    for number in range(count):
        ids.append(await _create(place, "runpod", number))
        await asyncio.sleep(0.05)
    await _ended(place, ids, 120)
    epoch = time.time() - time.monotonic()
    gone = dict[str, float]()
    for call in place.runpod.calls[before:]:
        if call.operation == "run":
            gone.setdefault(call.generation, call.at + epoch + LIFE_S)
    retried = await _moments(place, ids, "generation.retried")
    return [at.timestamp() - gone[id_] for id_, at in retried.items()]


LIFE_S: Final = JobLife().queue_s + JobLife().run_s


async def _held(provider: str, count: int) -> Held:
    """All attempts concurrently in one dispatcher without other work."""
    async with _opened() as place:
        place.gemini.play(GeminiScript(rules=(Rule(then=Images(seconds=90)),), image_side_max=64))
        place.runpod.play(RunpodScript(usual=JobLife(queue_s=90), image_side_max=64))
        at_rest = rss_mib(place.pids["dispatch"])
        for number in range(count):
            await _create(place, provider, number)
        most, until = at_rest, time.monotonic() + 50
        most_runs = 0
        while time.monotonic() < until:
            most = max(most, rss_mib(place.pids["dispatch"]))
            most_runs = max(most_runs, sum((place.gemini if provider == "gemini" else place.runpod).runs.now.values()))
            await asyncio.sleep(0.5)
        return Held(provider, most_runs, at_rest, max(most, rss_mib(place.pids["dispatch"])))


def _overhead_lines(overheads: Mapping[str, Sequence[float]]) -> Sequence[str]:
    rows = [
        f"| {name} | {len(times):,} | " + " | ".join(f"{quantile(times, q):.1f}" for q in (0.5, 0.9, 0.99, 1.0)) + " |"
        for name, times in overheads.items()
    ]
    return [
        f"From a request to the call at the provider, {PER_S:.0f} requests a second at random moments:",
        "",
        "| provider | requests | p50 ms | p90 ms | p99 ms | worst ms |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
    ]


def _retry_lines(seconds: Sequence[float]) -> Sequence[str]:
    least, most = min(seconds), max(seconds)
    met = "met" if least >= 5 and most <= 27 else "**missed**"
    return [
        f"From a job's silent end at RunPod (it is gone, and no webhook is sent) to the event of the next attempt, "
        f"{len(seconds):,} jobs: p50 {quantile(seconds, 0.5):.1f} s, p99 {quantile(seconds, 0.99):.1f} s, "
        f"{least:.1f} to {most:.1f} s. The original service promises 5 to 27 s: {met}.",
    ]


def _held_lines(held: Sequence[Held]) -> Sequence[str]:
    rows = [f"| {each.provider} | {each.count:,} | {each.at_rest_mib:.0f} | {each.most_mib:.0f} |" for each in held]
    return [
        "Attempts in progress at once, all of one `dispatch` process:",
        "",
        "| provider | at once | resident MiB at rest | at most |",
        "|---|---:|---:|---:|",
        *rows,
    ]


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
