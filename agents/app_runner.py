"""Running a faust app inside a loop and a process that are ours: its crash is our crash, its stop has a deadline."""

import asyncio
from typing import Final

import faust
import structlog

from gengui_stream.errors import BugError

CRASH_STOP_S: Final = 3.0

_log: Final = structlog.get_logger(__name__)


async def run_app(app: faust.App, stop: asyncio.Event, grace_s: float) -> None:
    """Until told to stop. Raises what crashed the app: faust alone would leave the process alive and idle."""
    app.finalize()
    running = asyncio.ensure_future(_until_over(app))
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        orderly = stop.is_set() and not running.done()
        told.cancel()
        running.cancel()
        await _stop(app, grace_s if orderly else CRASH_STOP_S)
    if not orderly:
        raise _reason(app, running)


async def _until_over(app: faust.App) -> None:
    await app.start()
    _log.info("agents_ready", app=app.conf.id)
    await app.wait_until_stopped()


async def _stop(app: faust.App, seconds: float) -> None:
    """After `seconds` we go without it. faust's stop swallows cancellation, and commits again: not once it crashed."""
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
    """The one error behind the crash, out of the groups that it came in."""
    error: BaseException | None = None if running.cancelled() else running.exception()
    error = error or app.crash_reason
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Exception):
        return error
    failure = BugError(f"faust ended by itself: {error!r}")
    failure.__cause__ = error
    return failure
