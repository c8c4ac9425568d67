"""Fills the shadow schema with several processes, one for each core: a fold is bound by its interpreter."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final, TypeAlias

import structlog
import uvloop

from gengui_stream.errors import BugError, ConfigurationError, FencedError, GenGuiError, PermanentError, TransientError
from gengui_stream.logging import configure_logging, redact_text
from gengui_stream.process.background import single_error_group
from gengui_stream.process.collection import collect_seldom
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.recovery.rebuild.fold.fill import Pace, Progress, Span, fill
from gengui_stream.settings import Settings

WORTH_A_PROCESS: Final = 200_000
"""Events. With fewer for each, a process takes longer to start than it saves."""

STOP_S: Final = 5.0

KINDS: Final = (FencedError, TransientError, PermanentError, BugError)
"""Passed on from a process by name, the most specific first."""

_log: Final = structlog.get_logger(__name__)

Message: TypeAlias = tuple[int, int] | tuple[str, str]
"""A partition and its next offset, or the kind of an error and its text."""


def shares(spans: Sequence[Span], events: dict[int, int], processes: int | None) -> list[list[Span]]:
    """The spans for each process, about equally many events to each. `events`: of each partition. `processes`: None for
    as many as there are cores and events for."""
    wanted = min(os.cpu_count() or 1, sum(events.values()) // WORTH_A_PROCESS) if processes is None else processes
    number = max(1, min(wanted, len(spans)))
    shared: list[list[Span]] = [[] for _ in range(number)]
    for span in sorted(spans, key=lambda each: -events[each.partition]):
        min(shared, key=lambda own: sum(events[each.partition] for each in own)).append(span)
    return shared


async def fill_in_processes(
    settings: Settings, shared: Sequence[Sequence[Span]], tables: Sequence[str], rate: float | None, done: Progress
) -> None:
    """`fill` of each share in a process of its own; of a single one in this process. Raises what `fill` raises."""
    if len(shared) == 1:
        await fill(settings, shared[0], tables, Pace(rate), done)
        return
    own = None if rate is None else rate / len(shared)
    started = [_start(settings, spans, tables, own) for spans in shared]
    try:
        async with single_error_group() as group:
            for process, receiver in started:
                group.create_task(_follow(process, receiver, done))
    finally:
        await asyncio.to_thread(_stop, [process for process, _ in started])


def _start(
    settings: Settings, spans: Sequence[Span], tables: Sequence[str], rate: float | None
) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(settings, spans, tables, rate, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


async def _follow(process: SpawnProcess, receiver: Connection, done: Progress) -> None:
    """Until the process closes its end of the pipe."""
    while (message := await asyncio.to_thread(_received, receiver)) is not None:
        first, second = message
        if isinstance(first, str):
            raise next((kind for kind in KINDS if kind.__name__ == first), BugError)(second)
        done(int(first), int(second))
    await asyncio.to_thread(process.join)
    if process.exitcode != 0:
        raise TransientError(f"a process of the rebuild ended with {process.exitcode}: the next run goes on")


def _received(receiver: Connection) -> Message | None:
    with suppress(EOFError, OSError):
        message: Message = receiver.recv()
        return message
    return None


def _stop(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_S)
        if process.is_alive():
            process.kill()


def _run(
    settings: Settings, spans: Sequence[Span], tables: Sequence[str], rate: float | None, sender: Connection
) -> None:
    """The whole life of such a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole group: the parent ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    collect_seldom()
    configure_logging(settings, "rebuild")
    try:
        uvloop.run(fill(settings, spans, tables, Pace(rate), lambda *at: sender.send(at)))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        sender.send(_described(error))
    sender.close()


def _described(error: Exception) -> Message:
    if isinstance(error, ConfigurationError):
        return PermanentError.__name__, str(error)
    if isinstance(error, GenGuiError):
        return next(kind.__name__ for kind in KINDS if isinstance(error, kind)), str(error)
    _log.error("crashed", exc_info=error)
    return BugError.__name__, redact_text(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """A parent that is killed says nothing. The next rebuild fences what this process might still commit."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(ExitCode.BUG)
