"""What a read of the embedded broker costs, by how much its log holds: in its memory, and kept in the object store.

python -m tests.bench.broker [--quick]
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.consumer_thread import FETCH_MAX_WAIT_MS
from gengui_stream.dev.log_bucket import fill_holes
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.identifiers import new_id
from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.settings import Settings, load_settings
from schemas.events import GenerationProgressed
from tests.bench.quantiles import quantile
from tests.bench.system import cpu_s, opened_stack

IN_MEMORY: Final = (0, 1_000, 2_000, 5_000, 10_000, 20_000)
KEPT: Final = (0, 1_000, 2_000, 5_000)
"""To fill a longer one takes many minutes."""
QUICK: Final = (0, 500)
TURNS: Final = 40
ELSEWHERE: Final = {"DATABASE_URL": "postgresql://none/none", "REDIS_URL": "redis://none"}
"""Nobody asks for these: so they are not started."""


@dataclass(frozen=True, slots=True)
class Turns:
    """At so many batches: seconds from an append to its arrival, and the servers' processor seconds a turn; and the
    seconds that a look for holes takes, where the log is kept."""

    batches: int
    arrival: float
    cpu: float
    look: float | None = None


def run(quick: bool) -> str:
    memory = uvloop.run(measure(QUICK if quick else IN_MEMORY, durable=False))
    kept = uvloop.run(measure(QUICK if quick else KEPT, durable=True))
    return section(memory, kept)


async def measure(levels: Sequence[int], *, durable: bool) -> Sequence[Turns]:
    async with _opened_broker(durable=durable) as (stack, settings, pids), AsyncExitStack() as opened:
        logs = [await opened.enter_async_context(EventLog(settings)) for _ in range(settings.events_partitions)]
        found: list[Turns] = []
        ends = dict.fromkeys(range(settings.events_partitions), 0)
        for level in levels:
            await asyncio.gather(*(_append(log, (level - sum(ends.values())) // len(logs), ends) for log in logs))
            async with _consuming(settings, ends) as consumer:
                turns = await _turns(level, logs[0], consumer, ends, pids)
            found.append(replace(turns, look=await _look(stack) if durable else None))
        return found


@asynccontextmanager
async def _opened_broker(*, durable: bool) -> AsyncIterator[tuple[EmbeddedStack, Settings, Sequence[int]]]:
    """The broker and the object store alone, and their process ids."""
    async with opened_stack(ELSEWHERE, durable=durable) as (_, stack):
        settings = load_settings({**ELSEWHERE, **stack.environ}, env_files=())
        await ensure_topic(settings)
        yield stack, settings, [server.child.pid or 0 for server in stack.servers]


def _event() -> GenerationProgressed:
    """Of a generation that nobody knows: what the log holds is all that counts here."""
    return GenerationProgressed(
        id=new_id(),
        generation_id=new_id(),
        attempt=1,
        occurred_at=datetime.now(UTC),
        producer="bench",
        percent=50.0,
        stage="sampling",
    )


async def _append(log: EventLog, batches: int, ends: dict[int, int]) -> None:
    """One after the other, each a batch of its own; of many generations, so to all partitions. `ends` follow."""
    for _ in range(batches):
        position = await log.append(_event())
        ends[position.partition] = max(ends[position.partition], position.offset + 1)


@asynccontextmanager
async def _consuming(settings: Settings, ends: Mapping[int, int]) -> AsyncIterator[AIOKafkaConsumer]:
    """From there on, asking as the agents do."""
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(**connection(settings), fetch_max_wait_ms=FETCH_MAX_WAIT_MS)
    await consumer.start()
    try:
        places = {TopicPartition(settings.events_topic, partition): end for partition, end in ends.items()}
        consumer.assign(list(places))
        for place, end in places.items():
            consumer.seek(place, end)
        yield consumer
    finally:
        await consumer.stop()


async def _turns(
    level: int, log: EventLog, consumer: AIOKafkaConsumer, ends: dict[int, int], pids: Sequence[int]
) -> Turns:
    before = sum(map(cpu_s, pids))
    arrivals = [await _turn(log, consumer, ends) for _ in range(TURNS)]
    return Turns(level, quantile(arrivals, 0.5), (sum(map(cpu_s, pids)) - before) / TURNS)


async def _turn(log: EventLog, consumer: AIOKafkaConsumer, ends: dict[int, int]) -> float:
    """Seconds from the end of the append."""
    await _append(log, 1, ends)
    appended = time.perf_counter()
    while not await consumer.getmany(timeout_ms=1_000):
        pass
    return time.perf_counter() - appended


async def _look(stack: EmbeddedStack) -> float:
    """Seconds; there are none."""
    began = time.perf_counter()
    assert not await fill_holes(stack.environ)
    return time.perf_counter() - began


METHOD: Final = f"""\
The embedded broker alone with a log of four partitions, in its own memory or kept in the object store; as many
producers append events one by one, each a batch of its own. At each length one consumer of all partitions stands at
their ends and asks as the agents do, with {FETCH_MAX_WAIT_MS} ms as a fetch's longest wait; {TURNS} times one event is
appended and waited for. Milliseconds from the end of the append to its arrival, the median; and processor time of
broker and store for one append and the reads until it arrived. A look for holes is what `make dev` does whenever it
starts something again."""


def section(memory: Sequence[Turns], kept: Sequence[Turns]) -> str:
    known = {of.batches: of for of in kept}
    rows = [f"| {of.batches:,} | {_figures(of)} | {_kept(known.get(of.batches))} |" for of in memory]
    head = "| batches | in memory, ms | CPU, ms | in the object store, ms | CPU, ms | a look for holes, ms |"
    return "\n".join([METHOD, "", head, "|---:|---:|---:|---:|---:|---:|", *rows])


def _figures(of: Turns) -> str:
    return f"{of.arrival * 1000:.1f} | {of.cpu * 1000:.0f}"


def _kept(of: Turns | None) -> str:
    return f"{_figures(of)} | {(of.look or 0) * 1000:.0f}" if of else "not measured | | "


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
