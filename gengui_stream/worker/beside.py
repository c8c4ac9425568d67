"""Something that goes on beside a piece of work, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def beside(company: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Runs `company` meanwhile. At the end it is cancelled and its event is set: its loop must look at the event.

    Being cancelled is not enough. On Python 3.11 `asyncio.wait_for` swallows a cancellation that comes together with
    its result, and libraries below us use it: a loop around such a call would go on for ever.
    """
    over = asyncio.Event()
    task = asyncio.create_task(company(over))
    try:
        yield
    finally:
        over.set()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
