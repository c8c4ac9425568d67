"""What limits cost a request, and whether a quota is exact: API processes with and without limits, on one stack.

python -m tests.bench.http.limits [--quick]
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from statistics import median
from typing import Final

import aiohttp

from gengui_stream.dev.ports import free_port
from gengui_stream.postgres.pool import opened_pool
from tests.bench.http.generations import fill
from tests.bench.http.http_load import Answers, Load, put_under
from tests.bench.system import System, cpu_s, opened_system, started, until_served

CONNECTIONS: Final = 16
GENERATIONS: Final = 10_000
PATHS: Final = 200
QUOTA, REQUESTS = 200, 1_000
HIGH: Final = "1000000000"
"""A limit that counts each request, and refuses none."""

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "without limits": {},
    "with limits": {"REQUESTS_PER_MINUTE": HIGH, "RATE_LIMIT_USER_DAILY": HIGH, "IN_PROGRESS_LIMIT": HIGH},
    "a quota": {"RATE_LIMIT_USER_DAILY": str(QUOTA)},
    "the same quota": {"RATE_LIMIT_USER_DAILY": str(QUOTA)},
}
COMPARED: Final = ("without limits", "with limits")


def run(quick: bool) -> str:
    return asyncio.run(measure(rounds=3 if quick else 9, seconds=1.5 if quick else 4.0))


async def measure(*, rounds: int, seconds: float) -> str:
    async with opened_system() as system, opened_pool(system.settings, size=2) as pool:
        ids = [f"/v1/generations/{found}" for found in (await fill(pool, GENERATIONS))[:PATHS]]
        async with _servers(system) as servers:
            found: dict[str, list[tuple[Answers, float]]] = {name: [] for name in COMPARED}
            for number in range(rounds + 1):
                for name in sorted(COMPARED, reverse=number % 2 == 0):
                    one = await _round(system, servers[name], ids, seconds if number else 1.0)
                    if number:  # the first fills caches
                        found[name].append(one)
            return "\n".join([*_read(found), "", await _quota(system, servers)])


@asynccontextmanager
async def _servers(system: System) -> AsyncIterator[dict[str, tuple[int, int]]]:
    """Port and process id of each."""
    async with AsyncExitStack() as stack:
        servers: dict[str, tuple[int, int]] = {}
        for name, settings in SETTINGS.items():
            port = free_port()
            own = replace(system, environ={**system.environ, **settings, "PORT": str(port)})
            child = await stack.enter_async_context(started(own, f"api-{len(servers)}", ["gengui_stream.cli", "api"]))
            await until_served(child, f"http://127.0.0.1:{port}/readyz")
            servers[name] = (port, child.pid or 0)
        yield servers


async def _round(
    system: System, server: tuple[int, int], paths: Sequence[str], seconds: float
) -> tuple[Answers, float]:
    port, pid = server
    before, headers = cpu_s(pid), {"Authorization": f"Bearer {system.key}"}
    answers = await put_under(Load(port=port, paths=paths, headers=headers, connections=CONNECTIONS, seconds=seconds))
    return answers, (cpu_s(pid) - before) * 1000 / answers.requests


def _read(found: Mapping[str, Sequence[tuple[Answers, float]]]) -> list[str]:
    rows = [
        f"| {name} | {median(a.per_s for a, _ in rounds):,.0f} | {median(a.p50_ms for a, _ in rounds):.1f} "
        f"| {median(a.p99_ms for a, _ in rounds):.1f} | {median(cpu for _, cpu in rounds):.3f} |"
        for name, rounds in found.items()
    ]
    off, on = (found[name] for name in COMPARED)
    more = [with_limits - without for (_, without), (_, with_limits) in zip(off, on, strict=True)]
    return [
        f"`GET /v1/generations/{{id}}` over {CONNECTIONS} kept connections; one process with limits off and one with",
        "the limit of requests; rounds in turn.",
        "",
        "| | requests/s | p50 ms | p99 ms | server CPU ms |",
        "|---|---:|---:|---:|---:|",
        *rows,
        "",
        f"The limit costs {median(more):.3f} ms of processor time a request ({min(more):.3f} to {max(more):.3f} over "
        f"{len(more)} rounds).",
    ]


async def _quota(system: System, servers: Mapping[str, tuple[int, int]]) -> str:
    ports = [servers["a quota"][0], servers["the same quota"][0]]
    headers = {"Authorization": f"Bearer {system.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def create(number: int) -> int:
            url = f"http://127.0.0.1:{ports[number % 2]}/v1/generations"
            async with session.post(url, json={"prompt": f"a fox {number}"}) as response:
                await response.read()
                return response.status

        began = time.perf_counter()
        statuses = Counter(await asyncio.gather(*(create(number) for number in range(REQUESTS))))
        seconds = time.perf_counter() - began
    exact = "exact" if statuses == {202: QUOTA, 429: REQUESTS - QUOTA} else "**not exact**"
    counts = ", ".join(f"{count:,} times {status}" for status, count in sorted(statuses.items()))
    return (
        f"{REQUESTS:,} parallel `POST /v1/generations` of one user with a quota of {QUOTA}, half of them to each of "
        f"two API processes: {counts}, in {seconds:.1f} s. The quota is {exact}."
    )


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
