"""Rebuilding all projections from the log, beside PostgreSQL's own COPY of the same rows and beside the agents.

python -m tests.bench.rebuild [--quick]
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

import asyncpg
import psutil
import uvloop

from tests.bench.fold.measurement import OURS, Load, fresh, measured_round
from tests.bench.report.progress import say
from tests.bench.system import System, opened_system, started
from tests.events import EVENTS_A_GENERATION

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SIZES: Final = (100_000, 1_000_000, 10_000_000)
COMPARED_UP_TO: Final = 1_000_000
"""Events. The agents would take many minutes for more."""

COPY_GOAL: Final = 0.7
AGENTS_GOAL: Final = 4.0
AIM: Final = 50_000

COPIED: Final = (
    ("timeline", "partition % 2 = 0"),
    ("timeline", "partition % 2 = 1"),
    ("generation_requests", "true"),
    ("generation_states", "true"),
)
"""What is copied at once: the rows of all large tables, the largest in two halves."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One run of the command, in seconds. `rss_mib`: the most of the command and its processes together."""

    events: int
    whole_s: float
    fold_s: float
    index_s: float
    compare_s: float
    locked_ms: float
    rss_mib: float


@dataclass(frozen=True, slots=True)
class Round:
    """`lost`: into an empty database. `beside`: with the live rows there, and compared. `copy_s`: COPY of all rows
    alone, into tables without indexes. `agents_per_s`: None for a log that they would take too long for."""

    lost: Rebuilt
    beside: Rebuilt
    copy_s: float
    agents_per_s: float | None


def run(quick: bool) -> str:
    return uvloop.run(_measured((100_000,) if quick else SIZES, rounds=1 if quick else 3))


async def _measured(sizes: Sequence[int], rounds: int) -> str:
    found: dict[int, list[Round]] = {}
    for events in sizes:
        async with opened_system() as system:
            say(f"  a log of {events:,} events ...")
            await _filled(system, events)
            found[events] = [await _round(system, events) for _ in range(rounds if events <= COMPARED_UP_TO else 1)]
    return section(found)


async def _filled(system: System, events: int) -> None:
    command = ["tests.bench.filling", str(events // EVENTS_A_GENERATION)]
    async with started(system, "filling", command) as filling:
        await filling.ended()
        if filling.exit_code:
            raise RuntimeError(filling.log_tail())


async def _round(system: System, events: int) -> Round:
    agents = None
    if events <= COMPARED_UP_TO:
        seen = await measured_round(system, OURS, Load(events // EVENTS_A_GENERATION, 1, 0.0))
        agents = seen.per_s
    async with fresh(system, OURS) as (own, connection):
        lost, beside = await _rebuilt(own), await _rebuilt(own)
        return Round(lost, beside, await _copied(own, connection), agents)


async def _rebuilt(system: System) -> Rebuilt:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", "rebuild", "--all", "--json"),
        env=system.whole_environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    watching = asyncio.create_task(_most_mib(process.pid))
    output, _ = await process.communicate()
    whole_s, most = time.perf_counter() - began, await watching
    if process.returncode:
        raise RuntimeError(output.decode())
    done = json.loads(output)
    seconds = (whole_s, done["fold_s"], done["index_s"], done["compare_s"])
    return Rebuilt(done["events"], *seconds, done["swapped"]["locked_ms"], most)


async def _most_mib(pid: int) -> float:
    most = 0.0
    try:
        root = psutil.Process(pid)
        while root.status() != psutil.STATUS_ZOMBIE:
            family = [root, *root.children(recursive=True)]
            most = max(most, sum(each.memory_info().rss for each in family) / 2**20)
            await asyncio.sleep(0.2)
    except psutil.NoSuchProcess:
        pass
    return most


async def _copied(system: System, connection: Connection) -> float:
    """Seconds that PostgreSQL takes for the rows alone, in as many sessions as there are processes in a rebuild."""
    async with _files(system, connection) as files:
        await connection.execute("CREATE SCHEMA copied")
        for table in {table for table, _ in files}:
            await connection.execute(f"CREATE TABLE copied.{table} (LIKE projections.{table})")
        began, waiting = time.perf_counter(), list(files)

        async def copy() -> None:
            own: Connection = await asyncpg.connect(system.environ["DATABASE_URL"])
            while waiting:
                table, file = waiting.pop(0)
                await own.copy_to_table(table, schema_name="copied", source=file, format="binary")
            await own.close()

        await asyncio.gather(copy(), copy())
        return time.perf_counter() - began


@asynccontextmanager
async def _files(system: System, connection: Connection) -> AsyncIterator[list[tuple[str, Path]]]:
    files: list[tuple[str, Path]] = []
    for number, (table, rows) in enumerate(COPIED):
        file = system.directory / f"copy-{number}"
        await connection.copy_from_query(
            f"SELECT * FROM projections.{table} WHERE {rows}", output=file, format="binary"
        )
        files.append((table, file))
    yield files
    for _, file in files:
        file.unlink()


def section(found: dict[int, list[Round]]) -> str:
    return "\n".join(
        [
            "`gengui-stream rebuild --all` as a command, its start included, with a process for each core: into an "
            "empty database, and then a second time beside the rows of the first, with the comparison by checksums and "
            "the swap. COPY is PostgreSQL's own speed: the same rows of the timeline, requests and states, from binary "
            "files in two sessions into tables without indexes. All medians.",
            "",
            "| events | rebuild of a lost database, events/s | of it the fold alone | beside the live rows, compared | "
            "COPY of the rows | agents | seconds: fold, indexes, compare | swap ms | resident MiB |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *(_row(events, rounds) for events, rounds in found.items()),
            "",
            *_goals(found),
        ]
    )


def _row(events: int, rounds: Sequence[Round]) -> str:
    lost, beside = [each.lost for each in rounds], [each.beside for each in rounds]
    agents = [each.agents_per_s for each in rounds if each.agents_per_s is not None]
    cells = (
        f"{events:,}",
        f"{median(events / each.whole_s for each in lost):,.0f}",
        f"{median(events / each.fold_s for each in lost):,.0f}",
        f"{median(events / each.whole_s for each in beside):,.0f}",
        f"{median(events / each.copy_s for each in rounds):,.0f}",
        f"{median(agents):,.0f}" if agents else "",
        ", ".join(
            f"{median(getattr(each, name) for each in beside):.1f}" for name in ("fold_s", "index_s", "compare_s")
        ),
        f"{max(each.locked_ms for each in beside):.0f}",
        f"{max(each.rss_mib for each in (*lost, *beside)):,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _goals(found: dict[int, list[Round]]) -> Sequence[str]:
    by_copy = {events: median(each.copy_s / each.beside.whole_s for each in rounds) for events, rounds in found.items()}
    by_agents = {
        events: median(events / each.beside.whole_s / each.agents_per_s for each in rounds if each.agents_per_s)
        for events, rounds in found.items()
        if events <= COMPARED_UP_TO
    }
    fastest = max(events / each.beside.fold_s for events, rounds in found.items() for each in rounds)
    costs = [median(each.beside.fold_s / events for each in rounds) for events, rounds in found.items()]
    return [
        f"- Checksums included, it has {_spread(by_copy)} of COPY's own speed; goal: {COPY_GOAL}.",
        f"- Checksums included, it is {_spread(by_agents)} times as fast as one `agents`; goal: {AGENTS_GOAL:.0f}.",
        f"- The fold alone reaches {fastest:,.0f} events/s; aim: {AIM:,}.",
        f"- The fold costs {max(costs) / min(costs):.2f} times as much an event at the dearest size as at the "
        "cheapest; goal: 1.2.",
    ]


def _spread(found: dict[int, float]) -> str:
    return ", ".join(f"{ratio:.2f} at {events:,} events" for events, ratio in found.items())


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
