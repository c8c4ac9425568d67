"""A worker of the original service, as the bridge knows it: it adds statuses to a Redis stream, and waits for rows."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from gengui_stream.bridge.messages import STATUS_STREAM
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import open_jobs
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.settings import Settings
from schemas.events import GenerationRequested
from tests.bench.jobs.thumbnails import inputs
from tests.bench.system import projected

POLL_S: Final = 0.002
GAP_MAX_S: Final = 0.3
BACKLOG_LEAST, BACKLOG_STEP = 20, 40
IMAGE_KEY: Final = "bench/image.png"

CHANGED: Final = "SELECT count(*) FROM projections.generation_states WHERE generation_id = ANY($1) AND status = $2"
WITH_THUMBNAIL: Final = """
SELECT count(*) FROM projections.generation_states, json_array_elements(outputs::json) AS output
WHERE generation_id = ANY($1) AND output -> 'thumbnail' ->> 'object_key' IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Drained:
    """Seconds from the first of many statuses until the first row and the last row had changed."""

    first_s: float
    all_s: float


@dataclass(frozen=True, slots=True)
class Thumbnailed:
    """Seconds until all generations were completed, and until all had their thumbnails."""

    ids: Sequence[UUID]
    completed_s: float
    thumbnails_s: float


class ExistingWorker:
    """Reports on generations that it requests itself, so that each is new."""

    def __init__(self, settings: Settings, pool: Pool, log: EventLog, streams: ProducerStreams, owner_id: UUID) -> None:
        self._settings, self._pool, self._log, self._streams = settings, pool, log, streams
        self._owner_id = owner_id

    async def requested(self, count: int) -> list[UUID]:
        """This number of new generations, projected."""
        events = [_requested(new_id(), self._owner_id) for _ in range(count)]
        await projected(self._pool, self._settings, await self._log.append_many(events))
        return [event.generation_id for event in events]

    async def latencies(self, samples: int) -> list[float]:
        """Seconds from each `processing` until its row has changed, at random moments, one at a time."""
        times: list[float] = []
        for generation_id in await self.requested(samples):
            await asyncio.sleep(random.uniform(0, GAP_MAX_S))
            began = time.perf_counter()
            await self._send([generation_id], "processing")
            await self._until(CHANGED, 1, [generation_id], "processing")
            times.append(time.perf_counter() - began)
        return times

    async def drain(self, count: int) -> Drained:
        """This number of `processing` statuses at once."""
        ids = await self.requested(count)
        began = time.perf_counter()
        await self._send(ids, "processing")
        await self._until(CHANGED, 1, ids, "processing")
        first_s = time.perf_counter() - began
        await self._until(CHANGED, count, ids, "processing")
        return Drained(first_s, time.perf_counter() - began)

    async def complete(self, count: int) -> Thumbnailed:
        """This number of `completed` statuses at once, each with an image of 1024² pixels."""
        ids = await self.requested(count)
        began = time.perf_counter()
        await self._send(ids, "completed", {"s3Key": IMAGE_KEY})
        await self._until(CHANGED, count, ids, "completed")
        completed_s = time.perf_counter() - began
        await self._until(WITH_THUMBNAIL, count, ids)
        return Thumbnailed(ids, completed_s, time.perf_counter() - began)

    @asynccontextmanager
    async def backlog(self) -> AsyncIterator[None]:
        """During the measurement, thumbnails are always queued; afterwards none is."""
        feeding = asyncio.ensure_future(self._feed())
        try:
            await self._until_open(BACKLOG_LEAST, at_least=True)
            yield
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        await self._until_open(0, at_least=False)

    async def _feed(self) -> None:
        while True:
            if await self._open_thumbnails() < BACKLOG_LEAST:
                await self._send(await self.requested(BACKLOG_STEP), "completed", {"s3Key": IMAGE_KEY})
            await asyncio.sleep(0.1)

    async def _until_open(self, count: int, *, at_least: bool) -> None:
        async with asyncio.timeout(120):  # by polling: what is waited for happens in other processes
            while (found := await self._open_thumbnails()) != count and (found < count) == at_least:
                await asyncio.sleep(0.05)

    async def _open_thumbnails(self) -> int:
        return (await open_jobs(self._pool)).get("thumbnail", 0)

    async def _send(self, ids: Sequence[UUID], status: str, more: dict[str, str] | None = None) -> None:
        rows = ({"mediaId": str(generation_id), "status": status, **(more or {})} for generation_id in ids)
        await self._streams.add_many(STATUS_STREAM, rows)

    async def _until(self, query: str, count: int, *arguments: object) -> None:
        async with asyncio.timeout(120):
            while await self._pool.fetchval(query, *arguments) < count:
                await asyncio.sleep(POLL_S)


def _requested(generation_id: UUID, owner_id: UUID) -> GenerationRequested:
    return GenerationRequested(
        id=new_id(),
        generation_id=generation_id,
        attempt=1,
        occurred_at=datetime.now(UTC),
        producer="bench",
        owner_id=owner_id,
        prompt="a lighthouse in a storm at dusk, long exposure, volumetric light, film grain, muted palette",
        seed=1,
        width=1024,
        height=1024,
        model="flux",
        provider="local",
    )


@asynccontextmanager
async def opened_worker(settings: Settings) -> AsyncIterator[ExistingWorker]:
    """Its image is in the object store."""
    async with (
        opened_pool(settings, size=3) as pool,
        EventLog(settings) as log,
        opened_client(settings) as redis,
        open_object_store(settings) as store,
    ):
        await store.put(IMAGE_KEY, inputs()["PNG, photographic"], "image/png")
        owner_id: UUID = await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'")
        yield ExistingWorker(settings, pool, log, ProducerStreams(shared(redis)), owner_id)
