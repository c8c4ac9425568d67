"""The first of several attempts that succeeds decides; one without an answer is not waited for."""

import asyncio
from collections.abc import Coroutine

import pytest

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.process.first_answer import Attempt, first_answer

LONG_S = 60.0


class Attempts:
    """Attempts that record what became of them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    def answering(self, name: str) -> Attempt[str]:
        async def attempt() -> str:
            self.begun.append(name)
            return name

        return attempt

    def silent(self, name: str) -> Attempt[str]:
        async def attempt() -> str:
            self.begun.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.append(name)
            return name

        return attempt

    def failing(self, name: str, error: Exception) -> Attempt[str]:
        def attempt() -> Coroutine[None, None, str]:
            self.begun.append(name)
            return _raise(error)

        return attempt


async def _raise(error: Exception) -> str:
    raise error


async def test_the_first_decides_if_it_answers() -> None:
    made = Attempts()
    assert await first_answer([made.answering("a"), made.answering("b")], LONG_S) == "a"
    assert made.begun == ["a"]


async def test_one_without_an_answer_is_not_waited_for() -> None:
    made = Attempts()
    assert await first_answer([made.silent("a"), made.silent("b"), made.answering("c")], 0.01) == "c"
    assert (made.begun, sorted(made.cancelled)) == (["a", "b", "c"], ["a", "b"])


async def test_the_next_begins_at_once_when_one_fails() -> None:
    made = Attempts()
    failing = made.failing("a", TransientError("refused"))
    async with asyncio.timeout(LONG_S / 2):
        assert await first_answer([failing, made.answering("b")], LONG_S) == "b"


async def test_if_all_fail_the_last_error_is_raised() -> None:
    made = Attempts()
    with pytest.raises(TransientError, match="second"):
        await first_answer([made.failing(name, TransientError(name)) for name in ("first", "second")], LONG_S)


async def test_an_error_that_is_an_answer_is_raised_at_once() -> None:
    made = Attempts()
    with pytest.raises(ConfigurationError):
        await first_answer([made.failing("a", ConfigurationError(["no topic"])), made.answering("b")], LONG_S)
    assert made.begun == ["a"]


async def test_a_cancellation_cancels_the_attempts() -> None:
    made = Attempts()
    waiting = asyncio.ensure_future(first_answer([made.silent("a")], LONG_S))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert made.cancelled == ["a"]
