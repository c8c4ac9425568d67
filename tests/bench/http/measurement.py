"""Reading over HTTP: the API beside a minimal FastAPI application with the same queries to the same PostgreSQL.

python -m tests.bench.http.measurement [--quick]
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final
from uuid import UUID

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.postgres.pool import opened_pool
from tests.bench.http.generations import OWNERS, fill
from tests.bench.http.http_load import Answers, Load, put_under
from tests.bench.system import System, cpu_s, opened_system, started, until_served

GENERATIONS: Final = 100_000
CONNECTIONS: Final = 32
ASKED_IDS: Final = 1_000
OURS, BASELINE = "GenGui Stream", "FastAPI + SQLAlchemy"


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under load."""

    port: int
    pid: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Round:
    """One server, one kind of request, for a few seconds. Processor time in milliseconds per request."""

    answers: Answers
    server_ms: float
    postgres_ms: float


Rounds = Mapping[tuple[str, str], Sequence[Round]]
"""By endpoint and server."""


def run(quick: bool) -> str:
    rounds = asyncio.run(measure(rounds=3 if quick else 9, seconds=1.5 if quick else 4.0))
    return section(rounds)


async def measure(*, rounds: int, seconds: float, generations: int = GENERATIONS) -> Rounds:
    async with opened_system() as system, opened_pool(system.settings, size=2) as pool:
        ids = await fill(pool, generations)
        owner_id = await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'")
        async with subjects(system, owner_id) as known:
            await _measured(system, known, ids, 1, 1.0)  # caches, pools and prepared statements
            return await _measured(system, known, ids, rounds, seconds)


@asynccontextmanager
async def subjects(system: System, owner_id: UUID) -> AsyncIterator[dict[str, Subject]]:
    """Both servers, one process each, once they are ready."""
    port = free_port()
    baseline = ["tests.bench.http.fastapi_baseline", str(port), system.settings.database_dsn, str(owner_id)]
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(started(system, "api", ["gengui_stream.cli", "api"]))
        theirs = await stack.enter_async_context(started(system, "fastapi", baseline))
        await until_served(ours, f"{system.url}/readyz")
        await until_served(theirs, f"http://127.0.0.1:{port}/v1/generations?limit=1")
        yield {
            OURS: Subject(system.settings.port, _pid(ours), {"Authorization": f"Bearer {system.key}"}),
            BASELINE: Subject(port, _pid(theirs), {}),
        }


def _pid(child: Child) -> int:
    assert child.pid is not None
    return child.pid


async def _measured(
    system: System, known: Mapping[str, Subject], ids: Sequence[UUID], rounds: int, seconds: float
) -> Rounds:
    asked = {
        "`GET /v1/generations/{id}`": [f"/v1/generations/{found}" for found in ids[:ASKED_IDS]],
        "`GET /v1/generations?limit=50`": ["/v1/generations?limit=50"],
    }
    found: dict[tuple[str, str], list[Round]] = {(what, name): [] for what in asked for name in known}
    for number in range(rounds):
        for what, paths in asked.items():
            for name in sorted(known, reverse=number % 2 == 0):
                found[what, name].append(await _round(system, known[name], paths, seconds))
    return found


async def _round(system: System, subject: Subject, paths: Sequence[str], seconds: float) -> Round:
    postgres = system.servers["postgres"]
    before = cpu_s(subject.pid), cpu_s(postgres)
    load = Load(port=subject.port, paths=paths, headers=subject.headers, connections=CONNECTIONS, seconds=seconds)
    answers = await put_under(load)
    server, database = cpu_s(subject.pid) - before[0], cpu_s(postgres) - before[1]
    return Round(answers, server * 1000 / answers.requests, database * 1000 / answers.requests)


METHOD: Final = f"""\
{GENERATIONS:,} generations of {OWNERS} owners in PostgreSQL; {CONNECTIONS} kept connections, each asking again once
answered. The API as shipped, one process: it authenticates the key, joins the rows, signs URLs, counts. The baseline
does less: one process of FastAPI on uvicorn with uvloop and httptools, response models, SQLAlchemy's async session over
asyncpg, and neither keys nor URLs nor counters."""


def section(rounds: Rounds) -> str:
    lines = [
        METHOD,
        "",
        "| request | server | requests/s | p50 ms | p99 ms | server CPU ms | Postgres CPU ms | bytes |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(_row(what, name, found) for (what, name), found in rounds.items()),
        "",
        *(_ratio(what, rounds) for what in dict.fromkeys(what for what, _ in rounds)),
    ]
    return "\n".join(lines)


def _row(what: str, name: str, found: Sequence[Round]) -> str:
    per_s = median(each.answers.per_s for each in found)
    p50, p99 = (median(times) for times in zip(*((r.answers.p50_ms, r.answers.p99_ms) for r in found), strict=True))
    server, database = median(r.server_ms for r in found), median(r.postgres_ms for r in found)
    size = median(r.answers.bytes_each for r in found)
    return f"| {what} | {name} | {per_s:,.0f} | {p50:.1f} | {p99:.1f} | {server:.2f} | {database:.2f} | {size:,.0f} |"


def _ratio(what: str, rounds: Rounds) -> str:
    pairs = list(zip(rounds[what, OURS], rounds[what, BASELINE], strict=True))
    faster = [ours.answers.per_s / theirs.answers.per_s for ours, theirs in pairs]
    p99 = [ours.answers.p99_ms / theirs.answers.p99_ms for ours, theirs in pairs]
    met = "met" if median(faster) > 1 and median(p99) < 1 else "**missed**"
    return (
        f"- {what}: {median(faster):.2f} times the baseline's requests/s ({min(faster):.2f} to {max(faster):.2f} over "
        f"{len(pairs)} rounds) at {median(p99):.2f} times its p99. Goal: ahead in both, {met}."
    )


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
