"""The first success of several attempts that may each be without an answer, such as the addresses of one cluster."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeAlias, TypeVar

from gengui_stream.errors import TransientError

T = TypeVar("T")

Attempt: TypeAlias = Callable[[], Coroutine[None, None, T]]


async def first_answer(attempts: Sequence[Attempt[T]], next_after_s: float) -> T:
    """The result of the first attempt that has one. Each begins once the one before has failed with TransientError, or
    `next_after_s` after its beginning. Raises the error of the last one if all have failed, and any other error at
    once. Attempts in progress are cancelled."""
    left, running = list(attempts), set[asyncio.Task[T]]()
    try:
        while True:
            if left:
                running.add(asyncio.ensure_future(left.pop(0)()))
            done, running = await asyncio.wait(
                running, timeout=next_after_s if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(error, TransientError) or not (left or running):
                    raise error
    finally:
        for attempt in running:
            attempt.cancel()
        await asyncio.gather(*running, return_exceptions=True)
