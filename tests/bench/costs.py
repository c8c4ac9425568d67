"""What an event and a generation cost in each part: processor time, bytes, rows, commands and connections.

python -m tests.bench.costs [--quick]
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil
from redis.asyncio import Redis

from gengui_stream.dev.demo.prompts import request_bodies
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.roles import ROLES
from tests.bench.report.progress import say
from tests.bench.system import System, cpu_s, opened_system, roles_started, started
from tests.events import EVENTS_A_GENERATION

AT_ONCE: Final = 4
REST_S: Final = 15.0
SETTLED_WITHIN_S: Final = 120.0
FOLDED_WITHIN_S: Final = 300.0
NEXT: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM projections.checkpoints"
JOBS: Final = "SELECT count(*) FROM jobs.jobs WHERE kind <> 'reconcile'"
"""A reconciliation of what has ended goes when it is due."""

WAL: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
TABLES: Final = """
SELECT n.nspname || '.' || c.relname AS name, c.reltuples::bigint AS rows,
    pg_table_size(c.oid) AS heap, pg_indexes_size(c.oid) AS indexes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('projections', 'jobs') AND c.relkind = 'r' AND c.reltuples > 0
ORDER BY pg_total_relation_size(c.oid) DESC
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Bytes of the rows, with what is stored out of line, and of all indexes."""

    name: str
    rows: int
    heap: int
    indexes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the events of so many generations take once they are folded. `log_bytes`: of one replica, compressed as the
    producer does it."""

    generations: int
    log_bytes: int
    wal_bytes: int
    tables: Sequence[Table]

    @property
    def events(self) -> int:
        return self.generations * EVENTS_A_GENERATION


@dataclass(frozen=True, slots=True)
class Used:
    """Of a run over HTTP. Processor milliseconds a generation beyond those at rest, and the share of a core at rest, by
    process. Redis: a generation. `connections`: by process, then by server."""

    generations: int
    events: float
    cpu_ms: Mapping[str, float]
    rest: Mapping[str, float]
    commands: float
    redis_in: float
    redis_out: float
    redis_kept: float
    connections: Mapping[str, Mapping[str, int]]


def run(quick: bool) -> str:
    stored = asyncio.run(_stored(1_000 if quick else 20_000))
    used = asyncio.run(_used(40 if quick else 400))
    return section(stored, used)


async def _stored(generations: int) -> Stored:
    say(f"  the events of {generations:,} generations ...")
    async with opened_system() as system:
        connection = await asyncpg.connect(system.settings.database_dsn)
        try:
            async with started(system, "filling", ["tests.bench.filling", str(generations)]) as filling:
                await filling.ended()
                if filling.exit_code:
                    raise RuntimeError(filling.log_tail())
            before = int(await connection.fetchval(WAL))
            async with roles_started(system, ["agents"]), asyncio.timeout(FOLDED_WITHIN_S):
                while await connection.fetchval(NEXT) < generations * EVENTS_A_GENERATION:
                    await asyncio.sleep(0.1)
            wal_bytes = int(await connection.fetchval(WAL)) - before
            await connection.execute("VACUUM ANALYZE")
            tables = [Table(**row) for row in await connection.fetch(TABLES)]
            return Stored(generations, _log_bytes(system), wal_bytes, tables)
        finally:
            await connection.close()


def _log_bytes(system: System) -> int:
    topic: Path = system.directory / "kafka" / "data"
    return sum(path.stat().st_size for path in topic.glob(f"{system.settings.events_topic}-*/*.log"))


async def _used(generations: int) -> Used:
    say(f"  {generations:,} generations over HTTP ...")
    async with (
        opened_system() as system,
        roles_started(system, ROLES) as roles,
        opened_client(system.settings) as redis,
    ):
        pids = {**roles, **system.servers}
        connection = await asyncpg.connect(system.settings.database_dsn)
        try:
            await _generate(system, 8)  # connections, caches and prepared statements
            await _settled(connection)
            rest = await _at_rest(pids)
            events, redis_before = int(await connection.fetchval(NEXT)), await _redis(redis)
            began, before = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
            await _generate(system, generations)
            connections = {name: _connections(system, pid) for name, pid in roles.items()}
            await _settled(connection)
            seconds = time.monotonic() - began
            cpu_ms = {
                name: (cpu_s(pid) - before[name] - rest[name] * seconds) * 1000 / generations
                for name, pid in pids.items()
            }
            redis_after = await _redis(redis)
            per = {name: (redis_after[name] - redis_before[name]) / generations for name in redis_after}
            events = int(await connection.fetchval(NEXT)) - events
        finally:
            await connection.close()
    return Used(
        generations,
        events / generations,
        cpu_ms,
        rest,
        per["total_commands_processed"],
        per["total_net_input_bytes"],
        per["total_net_output_bytes"],
        per["used_memory"],
        connections,
    )


async def _at_rest(pids: Mapping[str, int]) -> dict[str, float]:
    began, before = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
    await asyncio.sleep(REST_S)
    seconds = time.monotonic() - began
    return {name: (cpu_s(pid) - before[name]) / seconds for name, pid in pids.items()}


async def _generate(system: System, generations: int) -> None:
    """Some at a time, each followed to its end."""
    left = iter([body for body, _ in zip(request_bodies(), range(generations), strict=False)])
    headers = {"Authorization": f"Bearer {system.key}", "Prefer": "wait=60"}

    async def one_after_another(http: aiohttp.ClientSession) -> None:
        for body in left:
            async with http.post("/v1/generations", json=body) as response:
                response.raise_for_status()
                await response.read()

    async with aiohttp.ClientSession(system.url, headers=headers) as http, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another(http))


async def _settled(connection: asyncpg.Connection) -> None:
    """The thumbnails are made."""
    async with asyncio.timeout(SETTLED_WITHIN_S):
        while await connection.fetchval(JOBS):
            await asyncio.sleep(0.1)


async def _redis(redis: Redis) -> dict[str, int]:
    found = await redis.info()
    names = ("total_commands_processed", "total_net_input_bytes", "total_net_output_bytes", "used_memory")
    return {name: int(found[name]) for name in names}


def _connections(system: System, pid: int) -> Mapping[str, int]:
    settings = system.settings
    ports = {
        urlsplit(settings.database_dsn).port: "PostgreSQL",
        urlsplit(settings.redis_dsn).port: "Redis",
        int(settings.kafka_bootstrap_servers.rpartition(":")[2]): "Kafka",
    }
    found = psutil.Process(pid).net_connections("tcp")
    remote = [ports.get(each.raddr.port) for each in found if each.status == psutil.CONN_ESTABLISHED]
    return Counter(name for name in remote if name is not None)


METHOD: Final = f"""\
First, wide events of generations as in [Live fold](#live-fold), {EVENTS_A_GENERATION} each, are appended and folded by
one `agents`; then the log and the tables are weighed. A row's bytes are those of its table, with what is stored out of
line, after VACUUM. Then the whole system, every role one process, gets generations over HTTP from a closed loop of
{AT_ONCE}, drawn by the reference worker. Processor time is what a process used from the first request to the last
thumbnail, less what it uses at rest; the worker's is that of drawing."""


def section(stored: Stored, used: Used) -> str:
    return "\n".join([METHOD, "", *_stored_lines(stored), "", *_used_lines(used), "", *_connection_lines(used)])


def _stored_lines(stored: Stored) -> list[str]:
    events, generations = stored.events, stored.generations
    total = sum(table.heap + table.indexes for table in stored.tables)
    lines = [
        f"{events:,} events of {generations:,} generations: **{stored.log_bytes / events:,.0f} bytes** an event in the "
        f"log (one replica), **{total / generations:,.0f} bytes** a generation in PostgreSQL, "
        f"{stored.wal_bytes / events:,.0f} bytes of WAL an event.",
        "",
        "| table | rows a generation | bytes a generation | of these indexes |",
        "|---|---:|---:|---:|",
    ]
    for table in stored.tables:
        if table.rows * 100 < generations:
            continue
        size, indexes = (table.heap + table.indexes) / generations, table.indexes / generations
        lines.append(f"| `{table.name}` | {table.rows / generations:.2f} | {size:,.0f} | {indexes:,.0f} |")
    return lines


def _used_lines(used: Used) -> list[str]:
    return [
        f"{used.generations:,} generations over HTTP, {used.events:.1f} events each; Redis: {used.commands:.0f} "
        f"commands, {used.redis_in:,.0f} bytes in, {used.redis_out:,.0f} bytes out and {used.redis_kept:,.0f} bytes "
        "kept a generation.",
        "",
        "| process | CPU ms a generation | of a core at rest |",
        "|---|---:|---:|",
        *(f"| {name} | {ms:.1f} | {used.rest[name]:.1%} |" for name, ms in used.cpu_ms.items()),
        f"| together | {sum(used.cpu_ms.values()):.1f} | {sum(used.rest.values()):.1%} |",
    ]


def _connection_lines(used: Used) -> list[str]:
    servers = ("Kafka", "PostgreSQL", "Redis")
    return [
        "Connections of one process under this load:",
        "",
        f"| process | {' | '.join(servers)} |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {' | '.join(str(found.get(server, 0)) for server in servers)} |"
            for name, found in used.connections.items()
        ),
    ]


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
