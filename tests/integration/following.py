"""Waiting for the effects of events, and roles that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import generation_states
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S, role_context

T = TypeVar("T")


async def until(probe: Callable[[], Awaitable[T]], *, deadline_s: float = DEADLINE_S) -> T:
    """The first answer that is true, asked for again and again."""
    async with asyncio.timeout(deadline_s):
        while True:
            if answer := await probe():
                return answer
            await asyncio.sleep(0.02)


async def state_of(pool: Pool, generation_id: UUID) -> Generation | None:
    return (await generation_states.load(pool, [generation_id])).get(generation_id)


@asynccontextmanager
async def running(role: Callable[[RoleContext], Awaitable[None]], settings: Settings) -> AsyncIterator[None]:
    """Runs the role in this process during the block; stops it at the end, when it must end without an error."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(role(role_context(settings, stop)))
    try:
        yield
        assert not task.done() or task.exception() is None, f"the role ended early: {task}"
    finally:
        stop.set()
        async with asyncio.timeout(settings.shutdown_grace_s + DEADLINE_S):
            await task
