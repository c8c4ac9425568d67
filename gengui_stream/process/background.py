"""Tasks that end with a block of code. No other task of a role outlives the call that started it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

Work = Callable[[asyncio.Event], Coroutine[None, None, None]]


@asynccontextmanager
async def background_task(work: Work) -> AsyncIterator[None]:
    """Runs `work` until the block ends; then its event is set and it is cancelled. Its loop must check the event.

    An error of `work` cancels the block and is raised in its place, so that it ends the process, unless the block's
    caller expects it (law 6).

    The cancellation alone is not enough. On Python 3.11 `asyncio.wait_for` swallows a cancellation that arrives
    together with its result, and libraries in use call it: a loop around such a call would never end.
    """
    try:
        async with asyncio.TaskGroup() as group:
            ended = asyncio.Event()
            task = group.create_task(work(ended))
            try:
                yield
            finally:
                ended.set()
                task.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from errors.exceptions[0].__cause__


@asynccontextmanager
async def set_later(event: asyncio.Event, seconds: float) -> AsyncIterator[asyncio.Event]:
    """An event that is set so long after `event`, or after the block has begun if that is later."""
    later = asyncio.Event()

    async def follow(_: asyncio.Event) -> None:
        await event.wait()
        await asyncio.sleep(seconds)
        later.set()

    async with background_task(follow):
        yield later


@asynccontextmanager
async def single_error_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first error of its tasks as it is, with its cause: callers tell errors apart by
    their class, and the other tasks were cancelled because of it."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
