"""Providers on Redis, on the fake RunPod, and in memory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from gengui_stream.providers.interface import CallPolicy, DispatchRequest, Finished, Provider, ProviderJob
from gengui_stream.providers.local.provider import LocalProvider
from gengui_stream.providers.local.redis_keys import job_key
from gengui_stream.providers.runpod.provider import RunpodProvider
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings
from gengui_stream.testing.object_store import InMemoryObjectStore
from gengui_stream.testing.provider import InMemoryProvider
from schemas.events import Output
from tests.contracts.provider import JobIdContract, RepeatableContract, Subject
from tests.integration.providers.runpod_jobs import ended, played
from tests.integration.providers.runpod_scenes import living


@dataclass(frozen=True)
class InMemorySubject:
    provider: InMemoryProvider

    async def start(self, request: DispatchRequest) -> None:
        self.provider.run_of(request).started = True

    async def finish(self, request: DispatchRequest, job: ProviderJob) -> None:
        self.provider.run_of(request).status = Finished((Output(object_key="a.png"),))


class InMemoryFixtures:
    repeatable: bool

    @pytest.fixture
    def subject(self) -> Subject:
        policy = CallPolicy(in_doubt_s=0.0 if self.repeatable else 60.0)
        return InMemorySubject(InMemoryProvider(repeatable=self.repeatable, policy=policy))

    @pytest.fixture
    def finishing(self, subject: Subject) -> Subject:
        return subject

    @pytest.fixture
    def unavailable(self) -> Provider:
        provider = InMemoryProvider(repeatable=self.repeatable)
        provider.available = False
        return provider


class TestInMemoryRepeatable(InMemoryFixtures, RepeatableContract):
    repeatable = True


class TestInMemoryWithJobIds(InMemoryFixtures, JobIdContract):
    repeatable = False


@dataclass(frozen=True)
class LocalSubject:
    provider: LocalProvider
    redis: Redis
    store: InMemoryObjectStore

    async def start(self, request: DispatchRequest) -> None:
        await self.redis.hset(job_key(request.generation_id), "status", "processing")

    async def finish(self, request: DispatchRequest, job: ProviderJob) -> None:
        await self.store.put("a.png", b"picture", "image/png")
        for field, value in (("status", "completed"), ("s3Key", "a.png")):
            await self.redis.hset(job_key(request.generation_id), field, value)


@pytest.mark.stack
class TestLocalOnRedis(RepeatableContract):
    @pytest.fixture
    async def subject(self, settings: Settings) -> AsyncIterator[Subject]:
        async with opened_client(settings) as redis:
            store = InMemoryObjectStore()
            yield LocalSubject(LocalProvider(shared(redis), store), redis, store)

    @pytest.fixture
    def finishing(self, subject: Subject) -> Subject:
        return subject

    @pytest.fixture
    async def unavailable(self, settings: Settings) -> AsyncIterator[Provider]:
        lost = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")})
        async with opened_client(lost) as redis:
            yield LocalProvider(shared(redis), InMemoryObjectStore())


@dataclass(frozen=True)
class RunpodSubject:
    provider: RunpodProvider

    async def start(self, request: DispatchRequest) -> None:
        raise AssertionError("the script of the fake decides when a job starts")

    async def finish(self, request: DispatchRequest, job: ProviderJob) -> None:
        await ended(self.provider, request, job)


@pytest.mark.stack
class TestRunpodOnItsFake(JobIdContract):
    @pytest.fixture
    async def subject(self, settings: Settings) -> AsyncIterator[Subject]:
        async with AsyncExitStack() as stack:
            yield RunpodSubject((await played(stack, settings, living(end="never"))).provider)

    @pytest.fixture
    async def finishing(self, settings: Settings) -> AsyncIterator[Subject]:
        async with AsyncExitStack() as stack:
            yield RunpodSubject((await played(stack, settings, living())).provider)

    @pytest.fixture
    async def unavailable(self, settings: Settings) -> AsyncIterator[Provider]:
        async with AsyncExitStack() as stack:
            stage = await played(stack, settings, living(), runpod_base_url="http://127.0.0.1:9")
            yield stage.provider
