"""A background task ends with its block, and a block with its background task."""

import asyncio
from contextlib import suppress

import pytest

from gengui_stream.errors import BugError, TransientError
from gengui_stream.process.background import background_task


async def _endless(ended: asyncio.Event) -> None:
    await asyncio.Event().wait()


async def _dies(ended: asyncio.Event) -> None:
    raise BugError("died")


async def test_an_error_of_the_task_ends_the_block() -> None:
    with pytest.raises(BugError, match="died"):
        async with asyncio.timeout(5), background_task(_dies):
            await asyncio.Event().wait()


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    with pytest.raises(TransientError, match="of the block"):
        async with background_task(_endless):
            raise TransientError("of the block")


async def test_two_errors_are_raised_together() -> None:
    async def block() -> None:
        async with background_task(_dies):
            try:
                await asyncio.Event().wait()
            finally:
                raise TransientError("of the block")

    with pytest.raises(ExceptionGroup) as raised:
        await block()
    assert sorted(map(str, raised.value.exceptions)) == ["died", "of the block"]


async def test_the_task_ends_with_the_block() -> None:
    ended = asyncio.Event()

    async def work(over: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with background_task(work):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_task_that_misses_its_cancellation_ends_by_its_event() -> None:
    async def work(over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async with asyncio.timeout(5):
        async with background_task(work):
            await asyncio.sleep(0)


async def test_the_cancellation_of_the_block_is_no_error_of_the_task() -> None:
    async def block() -> None:
        async with background_task(_endless):
            await asyncio.Event().wait()

    running = asyncio.create_task(block())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
