"""The queue of the local provider as one worker uses it, and its form on Redis: entries of a stream, and the hashes of
the jobs."""

import asyncio
import time
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Final, Protocol

from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import Bucket
from gengui_stream.providers.local.entries import InvalidMessage
from gengui_stream.providers.local.redis_keys import (
    DEAD_MAX,
    DEAD_STREAM,
    JOB_KEPT_S,
    JOB_PREFIX,
    QUEUE_STREAM,
    WORKER_GROUP,
    job_key,
)
from gengui_stream.redis_io.data_types import Hashes
from gengui_stream.redis_io.deliveries import Deliveries
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.redis_io.scripts import Script
from gengui_stream.redis_io.streams import BEGINNING, ConsumerStreams, ProducerStreams, StreamEntry
from gengui_stream.worker.job import DrawingJob

WAIT_S: Final = 1.0
"""The timeout of a blocking read, and so the longest delay until a worker notices a shutdown."""

RELEASED_IDLE_MS: Final = 7 * 24 * 3600 * 1000
"""An idle time that is above every worker's limit for abandoned entries."""


class Ownership(StrEnum):
    """Whether a job is still this worker's. ENDED: it has ended, or a later attempt has started. LOST: another worker
    has claimed it, because this one showed no sign of life."""

    OURS = "ours"
    CANCELED = "canceled"
    ENDED = "over"
    LOST = "lost"


class WorkQueue(Protocol):
    """Methods raise TransientError while a server is unavailable, and may then be called again."""

    async def create(self) -> None:
        """Prepares the queue for this worker."""
        ...

    async def take(self) -> StreamEntry | None:
        """The next entry; None after a short wait without any. Its fields are empty if it was deleted."""
        ...

    async def deliveries(self, entry_id: str) -> int:
        """How often the entry was delivered to a worker, this time included."""
        ...

    async def heartbeat(self, entry_id: str) -> bool:
        """Keeps other workers from taking the entry. False: one already has."""
        ...

    async def release(self, entry_id: str) -> None:
        """Returns an unfinished entry to the other workers."""
        ...

    async def done(self, entry_id: str) -> None:
        """The outcome of the job is in the log."""
        ...

    async def dead_letter(self, entry: StreamEntry, invalid: InvalidMessage) -> None:
        """Keeps an entry that names no generation for a failure to be reported of."""
        ...

    async def upload(self, job: DrawingJob, body: bytes, mime_type: str) -> str:
        """Stores the image; returns its object key. Raises PermanentError if the store refuses it."""
        ...

    async def ownership(self, job: DrawingJob) -> Ownership:
        """Whether the job is still this worker's."""
        ...

    async def mark(self, job: DrawingJob, status: str, more: Mapping[str, str] | None = None) -> Ownership:
        """Writes the status if the job is still this worker's."""
        ...

    async def leave(self) -> None:
        """The worker stops."""
        ...


class RedisWorkQueue:
    """`consumer` blocks on a connection of its own; `redis` is for everything else."""

    def __init__(
        self, consumer: ConsumerStreams, redis: SharedRedis, store: Bucket, name: str, *, claim_idle_s: float
    ) -> None:
        self._consumer = consumer
        self._deliveries = Deliveries(redis, QUEUE_STREAM, WORKER_GROUP)
        self._hashes = Hashes(redis)
        self._store = store
        self._name = name
        self._claim_idle_ms = int(claim_idle_s * 1000)
        self._claim_every_s = claim_idle_s / 3
        self._next_claim = 0.0
        self._reading = asyncio.Lock()  # one blocking read at a time
        self._dead = ProducerStreams(redis)
        self._mark, self._hold = (Script(redis, _script(name)) for name in ("mark.lua", "hold.lua"))

    async def create(self) -> None:
        """Creates the consumer group if it is missing."""
        await self._consumer.create_group()

    async def take(self) -> StreamEntry | None:
        """An abandoned entry of a lost worker, else a new one; None after a second without any."""
        async with self._reading:
            return await self._abandoned() or await self._new()

    async def _abandoned(self) -> StreamEntry | None:
        if time.monotonic() < self._next_claim:
            return None
        start = BEGINNING
        while True:
            claimed = await self._consumer.claim_abandoned(1, idle_ms=self._claim_idle_ms, start=start)
            for entry in claimed.entries:
                if not await self._is_at_silent_worker(entry):
                    return entry
            start = claimed.next_start
            if start == BEGINNING:
                self._next_claim = time.monotonic() + self._claim_every_s
                return None

    async def _is_at_silent_worker(self, entry: StreamEntry) -> bool:
        """Whether a worker without heartbeats has marked the job: its silence says nothing. It may still acknowledge
        the entry; if it does not, the entry is taken once the generation has passed its deadline."""
        media_id = entry.fields.get("mediaId", "")
        known = await self._hashes.read(f"{JOB_PREFIX}{media_id}")
        same = known.get("attempt") in {None, entry.fields.get("attempt", known.get("attempt"))}
        return known.get("status") == "processing" and same and "heartbeats" not in known

    async def _new(self) -> StreamEntry | None:
        entries = await self._consumer.consume(1, min(WAIT_S, self._claim_every_s))
        return entries[0] if entries else None

    async def deliveries(self, entry_id: str) -> int:
        """How often the entry was delivered to a worker, this time included."""
        return await self._deliveries.count(entry_id)

    async def heartbeat(self, entry_id: str) -> bool:
        """Resets the entry's idle time, so that no other worker claims it. False: one has, or it is released."""
        return await self._act(entry_id, "heartbeat")

    async def release(self, entry_id: str) -> None:
        """Returns an unfinished entry: the next worker that looks for abandoned entries claims it."""
        await self._act(entry_id, "release")

    async def done(self, entry_id: str) -> None:
        """Acknowledges and deletes the entry, so that the stream holds open jobs only. It stays if another worker has
        claimed it."""
        await self._act(entry_id, "done")

    async def dead_letter(self, entry: StreamEntry, invalid: InvalidMessage) -> None:
        """Copies an entry to the dead-letter stream, as it names no generation for a failure to be reported of."""
        why = {"dead.reason": invalid.message, "dead.entry_id": entry.id}
        await self._dead.add(DEAD_STREAM, {**entry.fields, **why}, max_length=DEAD_MAX)

    async def upload(self, job: DrawingJob, body: bytes, mime_type: str) -> str:
        """A repeated job has the same key."""
        key = media_key(job.owner_id, job.generation_id, mime_type)
        await self._store.put(key, body, mime_type)
        return key

    async def ownership(self, job: DrawingJob) -> Ownership:
        """Whether the job is still this worker's."""
        return await self.mark(job, "")

    async def mark(self, job: DrawingJob, status: str, more: Mapping[str, str] | None = None) -> Ownership:
        """Writes the status if the job is still this worker's."""
        pairs = [text for pair in (more or {}).items() for text in pair]
        attempt = "" if job.attempt is None else str(job.attempt)
        args = [WORKER_GROUP, job.entry_id, self._name, attempt, status, str(JOB_KEPT_S), *pairs]
        return Ownership(str(await self._mark([job_key(job.generation_id), QUEUE_STREAM], args)))

    async def leave(self) -> None:
        """Removes this consumer from the group, unless it has pending entries."""
        await self._consumer.leave()

    async def _act(self, entry_id: str, act: str) -> bool:
        args = [WORKER_GROUP, entry_id, self._name, str(RELEASED_IDLE_MS), act]
        return bool(await self._hold([QUEUE_STREAM], args))


def _script(name: str) -> str:
    return (files("gengui_stream.worker") / name).read_text()
