"""A task that runs as long as a block of code does. No other task of a role outlives the call that started it."""

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
