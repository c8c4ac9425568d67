"""Runs a faust app inside the process's own event loop: its crash is raised, its stop has a deadline."""

import asyncio
from typing import Final

import faust
import structlog
from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.exceptions import FaustError

from agents.transport import BatchConsumer
from gengui_stream.errors import BugError, TransientError

CRASH_STOP_S: Final = 3.0

_log: Final = structlog.get_logger(__name__)


async def run_app(app: faust.App, stop: asyncio.Event, grace_s: float) -> None:
    """Runs until `stop` is set. Raises the error that crashed the app: faust alone would leave the process alive and
    idle. Raises TransientError when the brokers went away while it started, which faust does not wait for."""
    app.finalize()
    ready = asyncio.Event()
    running = asyncio.ensure_future(_until_over(app, ready))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        orderly = stop.is_set() and not running.done()
        stopped.cancel()
        running.cancel()
        await _stop(app, grace_s if orderly else CRASH_STOP_S)
    if not orderly:
        error = _reason(app, running)
        if not ready.is_set() and _may_pass(error):
            if isinstance(app.consumer, BatchConsumer):
                app.consumer.close_unused()
            raise TransientError(f"no broker while {app.conf.id} starts: {error!r}") from error
        raise error


async def _until_over(app: faust.App, ready: asyncio.Event) -> None:
    await app.start()
    ready.set()
    _log.info("agents_ready", app=app.conf.id)
    await app.wait_until_stopped()


def _may_pass(error: Exception) -> bool:
    """faust's own errors have the client's as their cause."""
    while error.__cause__ is not None and isinstance(error, FaustError | BugError):
        if not isinstance(error.__cause__, Exception):
            break
        error = error.__cause__
    return isinstance(error, OSError | KafkaTimeoutError) or (isinstance(error, KafkaError) and error.retriable)


async def _stop(app: faust.App, seconds: float) -> None:
    """Gives up after `seconds`. faust's stop suppresses cancellation, and commits again; a crashed app does not
    commit."""
    stopping = asyncio.ensure_future(app.stop())
    await asyncio.wait({stopping}, timeout=seconds)
    if not stopping.done():
        _log.warning("faust_stop_overdue", app=app.conf.id, seconds=seconds)
        await app.crash(TimeoutError(f"the stop took more than {seconds:g} s"))
    elif stopping.cancelled():
        _log.warning("faust_stop_failed", app=app.conf.id, error="canceled")
    elif (error := stopping.exception()) is not None:
        _log.warning("faust_stop_failed", app=app.conf.id, error=repr(error))


def _reason(app: faust.App, running: "asyncio.Future[None]") -> Exception:
    """The error behind the crash, taken out of its exception groups."""
    error: BaseException | None = None if running.cancelled() else running.exception()
    error = error or app.crash_reason
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Exception):
        return error
    failure = BugError(f"faust ended by itself: {error!r}")
    failure.__cause__ = error
    return failure
