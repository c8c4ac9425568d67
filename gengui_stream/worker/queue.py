"""The queue of the local provider, from the worker's side: entries of a Redis Stream, and the jobs' hashes."""

import asyncio
import time
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from gengui_stream.providers.local.redis_keys import JOB_KEPT_S, QUEUE_STREAM, job_key
from gengui_stream.redis_io.clients import transient_errors
from gengui_stream.redis_io.streams import BlockingConsumer, ProducerStreams, StreamEntry
from gengui_stream.worker.job import Nonsense

GROUP: Final = "generation-workers"
DEAD_STREAM: Final = f"{QUEUE_STREAM}:dead"
WAIT_S: Final = 1.0
"""How long one blocking read waits: also how long a worker takes to notice that it is told to end."""

HANDED_BACK_MS: Final = 7 * 24 * 3600 * 1000
"""An idle time that every other worker finds long enough."""


class Standing(StrEnum):
    """Whether a job is (still) to be done."""

    OURS = "ours"
    CANCELED = "canceled"
    OVER = "over"


class WorkQueue:
    """One worker's view. `consumer` blocks on a connection of its own; `redis` is for everything else.

    Raises TransientError while Redis is away; each method may then be called again.
    """

    def __init__(self, consumer: BlockingConsumer, redis: Redis, name: str, *, claim_idle_s: float) -> None:
        self._consumer = consumer
        self._redis = redis
        self._name = name
        self._claim_idle_ms = int(claim_idle_s * 1000)
        self._claim_every_s = claim_idle_s / 3
        self._next_claim = 0.0
        self._turn = asyncio.Lock()  # a consumer reads for one at a time
        self._dead = ProducerStreams(redis)
        script = (files("gengui_stream.worker") / "mark.lua").read_text()
        self._mark = redis.register_script(script)

    async def create(self) -> None:
        """Makes the group where it is missing."""
        await self._consumer.create_group()

    async def take(self) -> StreamEntry | None:
        """An entry that a lost worker left, else a new one; `None` after a second without any."""
        async with self._turn:
            return await self._abandoned() or await self._new()

    async def _abandoned(self) -> StreamEntry | None:
        if time.monotonic() >= self._next_claim:
            claimed = await self._consumer.claim_abandoned(1, idle_ms=self._claim_idle_ms)
            if claimed.entries:
                return claimed.entries[0]
            self._next_claim = time.monotonic() + self._claim_every_s
        return None

    async def _new(self) -> StreamEntry | None:
        entries = await self._consumer.wait_for_new(1, min(WAIT_S, self._claim_every_s))
        return entries[0] if entries else None

    async def deliveries(self, entry_id: str) -> int:
        """How often the entry was given to a worker, this time included."""
        with transient_errors():
            rows = await self._redis.xpending_range(QUEUE_STREAM, GROUP, min=entry_id, max=entry_id, count=1)
        return int(rows[0]["times_delivered"]) if rows else 1

    async def keep(self, entry_id: str) -> None:
        """Begins the entry's idle time anew: nobody claims it while its worker is alive."""
        await self._set_idle(entry_id, 0)

    async def hand_back(self, entry_id: str) -> None:
        """Not done: whoever looks for abandoned entries next has it."""
        await self._set_idle(entry_id, HANDED_BACK_MS)

    async def done(self, entry_id: str) -> None:
        """Acknowledged and gone, so that the stream holds what is to be done and nothing else."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xack(QUEUE_STREAM, GROUP, entry_id)
        pipeline.xdel(QUEUE_STREAM, entry_id)
        with transient_errors():
            await pipeline.execute()

    async def bury(self, entry: StreamEntry, nonsense: Nonsense) -> None:
        """Keeps an entry aside that names no generation to report it to."""
        ours = {"dead.reason": nonsense.message, "dead.entry_id": entry.id}
        await self._dead.add(DEAD_STREAM, {**entry.fields, **ours}, max_length=10_000)

    async def standing(self, generation_id: UUID, attempt: int | None) -> Standing:
        """Whether to go on."""
        return await self.mark(generation_id, attempt, "")

    async def mark(
        self, generation_id: UUID, attempt: int | None, status: str, more: Mapping[str, str] | None = None
    ) -> Standing:
        """Writes the status, unless the job is no longer ours: then nothing."""
        pairs = [text for pair in (more or {}).items() for text in pair]
        args = ["" if attempt is None else str(attempt), status, str(JOB_KEPT_S), *pairs]
        with transient_errors():
            return Standing(str(await self._mark(keys=[job_key(generation_id)], args=args)))

    async def leave(self) -> None:
        """Takes this worker's name out of the group, unless entries are pending under it."""
        await self._consumer.leave()

    async def _set_idle(self, entry_id: str, idle_ms: int) -> None:
        with transient_errors():
            await self._redis.xclaim(QUEUE_STREAM, GROUP, self._name, 0, [entry_id], idle=idle_ms, justid=True)
