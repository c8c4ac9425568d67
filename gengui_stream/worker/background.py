"""A task that runs as long as a block of code does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def background_task(work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Runs `work` until the block ends; then its event is set and it is cancelled. Its loop must check the event.

    The cancellation alone is not enough. On Python 3.11 `asyncio.wait_for` swallows a cancellation that arrives
    together with its result, and libraries in use call it: a loop around such a call would never end.
    """
    ended = asyncio.Event()
    task = asyncio.create_task(work(ended))
    try:
        yield
    finally:
        ended.set()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
