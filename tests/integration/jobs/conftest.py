"""A projector and dispatchers on the local queue, and the actions and observations of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from redis.asyncio import Redis

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM, WORKER_GROUP
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.redis_io.streams import ConsumerStreams, StreamEntry
from gengui_stream.settings import Settings
from schemas.events import (
    Event,
    GenerationRequested,
)
from tests.integration.projector.projecting import projecting
from tests.integration.running import a_request, eventually, logged, running, state_of


class Scene:
    """A running projector and dispatcher, and the actions and observations of a test."""

    def __init__(self, settings: Settings, pool: Pool, log: EventLog, redis: Redis) -> None:
        self.settings = settings
        self.pool = pool
        self.log = log
        self.redis = redis

    async def request(self, **changes: object) -> GenerationRequested:
        request = a_request(**changes)
        await self.log.append(request)
        return request

    async def say(self, kind: type[Event], request: GenerationRequested, **fields: object) -> None:
        """Another producer's event about the generation."""
        common = {"id": new_id(), "generation_id": request.generation_id, "occurred_at": datetime.now(UTC)}
        await self.log.append(kind.model_validate({**common, "producer": "test", **fields}))

    async def reaches(self, request: GenerationRequested, status: Status, attempt: int = 1) -> Generation:
        """The generation, once it stands there."""

        async def look() -> Generation | None:
            state = await state_of(self.pool, request.generation_id)
            return state if state and (state.status, state.attempt) == (status, attempt) else None

        state = await eventually(look)
        assert state is not None
        return state

    async def queue(self) -> list[StreamEntry]:
        """The queued jobs for workers; a new group sees all of them."""
        group = f"look-{new_id()}"
        async with ConsumerStreams(self.settings, QUEUE_STREAM, group, "test", longest_wait_s=1) as reader:
            await reader.create_group()
            return await reader.read_new(1_000)

    async def queued(self, length: int) -> list[StreamEntry]:
        """The queue, once it is that long."""

        async def look() -> bool:
            return await self.redis.xlen(QUEUE_STREAM) == length

        await eventually(look)
        return await self.queue()

    async def taken(self, number: int) -> AsyncIterator[StreamEntry]:
        """The next entries of the queue, one at a time, as a worker takes them."""
        reader = ConsumerStreams(self.settings, QUEUE_STREAM, WORKER_GROUP, "test", longest_wait_s=10)
        async with asyncio.timeout(60), reader:
            await reader.create_group()
            for _ in range(number):
                while not (entries := await reader.consume(1)):
                    pass
                yield entries[0]

    async def no_open_jobs(self) -> None:
        async def look() -> bool:
            open_jobs = "SELECT count(*) FROM jobs.jobs WHERE kind <> 'thumbnail'"
            return int(await self.pool.fetchval(open_jobs)) == 0

        await eventually(look)

    async def types(self, request: GenerationRequested) -> list[str]:
        events = await logged(self.settings)
        return [event.type for event in events if event.generation_id == request.generation_id]


@asynccontextmanager
async def scene(settings: Settings, pool: Pool, log: EventLog, *, dispatchers: int = 1) -> AsyncIterator[Scene]:
    async with projecting(settings), opened_client(settings) as redis:
        if dispatchers == 0:
            yield Scene(settings, pool, log, redis)
        elif dispatchers == 1:
            async with running(run_dispatch, settings):
                yield Scene(settings, pool, log, redis)
        else:
            async with running(run_dispatch, settings), running(run_dispatch, settings):
                yield Scene(settings, pool, log, redis)
