"""The projection on PostgreSQL and in memory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from gengui_stream.jobs.projection import PostgresProjection
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from gengui_stream.testing.event_log import InMemoryEventLog
from gengui_stream.testing.projection import InMemoryProjection
from gengui_stream.testing.system import InMemorySystem
from tests.contracts.projection import ProjectionContract
from tests.integration.projector.projecting import project_everything, projecting


@dataclass(frozen=True)
class InMemoryProjected:
    system: InMemorySystem

    @property
    def log(self) -> InMemoryEventLog:
        return self.system.log

    @property
    def projection(self) -> InMemoryProjection:
        return self.system.projection

    async def project(self) -> None:
        self.projection.paused = False
        self.projection.catch_up()
        self.projection.paused = True

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        self.projection.paused = False
        yield

    async def job_keys(self) -> set[str]:
        self.projection.catch_up()
        return set(self.system.jobs.rows)


@dataclass(frozen=True)
class PostgresProjected:
    log: EventLog
    projection: PostgresProjection
    pool: Pool
    settings: Settings

    async def project(self) -> None:
        await project_everything(self.settings, self.pool)

    def live(self) -> AbstractAsyncContextManager[None]:
        return projecting(self.settings)

    async def job_keys(self) -> set[str]:
        return {row["job_key"] for row in await self.pool.fetch("SELECT job_key FROM jobs.jobs")}


class TestInMemory(ProjectionContract):
    @pytest.fixture
    def projected(self) -> InMemoryProjected:
        system = InMemorySystem([])
        system.projection.paused = True
        return InMemoryProjected(system)


@pytest.mark.stack
class TestOnPostgres(ProjectionContract):
    @pytest.fixture
    def projected(self, settings: Settings, pool: Pool, event_log: EventLog) -> PostgresProjected:
        return PostgresProjected(event_log, PostgresProjection(pool), pool, settings)
