"""The composition root: runs a role by name with its settings, until the process ends with an exit code.

Only the role to be run is imported: a thumbnail process holds no faust, an API no Pillow.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
import uvloop

from gengui_stream.errors import ConfigurationError, DeadLetterFloodError, FencedError, TransientError
from gengui_stream.logging import configure_logging
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.process.ready_file import announce_ready
from gengui_stream.process.waits import current_waits
from gengui_stream.roles import ROLES, RoleName
from gengui_stream.settings import Inspection, Settings
from gengui_stream.tracing.observing import observed

if TYPE_CHECKING:
    from gengui_stream.role_context import RoleContext

Entry: TypeAlias = Callable[[Settings, asyncio.Event], Awaitable[None]]
RoleEntry: TypeAlias = "Callable[[RoleContext], Awaitable[None]]"

LAST_SECONDS: Final = 2.0
"""How long beyond its grace a role may take, and again after its cancellation, before the process exits."""

_log = structlog.get_logger(__name__)


def run_role(role: RoleName, settings: Settings, inspection: Inspection | None = None) -> int:
    """Runs the role until SIGTERM or SIGINT, and returns the exit code. Waits for unavailable servers.

    `inspection`: the sources of the settings, whose warnings are logged.
    """
    configure_logging(settings, role)
    if inspection is not None:
        _log_remarks(inspection)
    try:
        with observed(settings, role):
            return _run(role, settings)
    except ConfigurationError as error:
        return _misconfigured(role, error)


def _run(role: RoleName, settings: Settings) -> int:
    try:
        code = _serve(role, _entry(role), settings)
    except ConfigurationError as error:
        return _misconfigured(role, error)
    except FencedError as error:
        _log.warning("fenced", role=role, error=str(error))
        return ExitCode.BUG
    except DeadLetterFloodError as error:
        _log.error("dead_letter_flood", role=role, error=str(error))
        return ExitCode.BUG
    except Exception:  # noqa: BLE001 - logged with its traceback; ends the process
        _log.exception("crashed", role=role)
        return ExitCode.BUG
    _log.info("ended", role=role, code=int(code))
    return code


def _misconfigured(role: RoleName, error: ConfigurationError) -> int:
    _log.error("misconfigured", role=role, faults=error.faults)
    return ExitCode.CONFIGURATION


def _log_remarks(inspection: Inspection) -> None:
    if renamed := [{"old": one.old, "new": one.new} for one in inspection.renamings if one.used]:
        _log.warning("settings_renamed", renamed=renamed)
    unread = inspection.unread()
    if unused := [one.name for one in unread if one.not_used_yet]:
        _log.warning("settings_not_used_yet", names=unused)
    if unknown := [{"name": one.name, "nearest": one.nearest} for one in unread if not one.not_used_yet]:
        _log.warning("settings_unknown", unknown=unknown)


def _serve(name: RoleName, run: RoleEntry, settings: Settings) -> ExitCode:
    """Runs the role with `/livez` and `/metrics`: served here, unless the API serves them all on its own port."""
    from gengui_stream.health.liveness import Health, ticking
    from gengui_stream.health.server import has_own_port, served_health
    from gengui_stream.metrics import new_metrics
    from gengui_stream.role_context import RoleContext

    role, health, metrics = ROLES[name], Health(), new_metrics(name)
    health.waits.count(lambda operation: metrics.retries.labels(operation).inc())

    async def entry(settings: Settings, stop: asyncio.Event) -> None:
        health.starting()
        await run(RoleContext(settings, stop, metrics, health))

    async def measured() -> ExitCode:
        current_waits.set(health.waits)
        with ticking(health):
            return await run_until_stopped(entry, name, settings)

    with served_health(settings, role, health, metrics.registry) if has_own_port(settings, role) else nullcontext():
        return uvloop.run(measured())


async def run_until_stopped(entry: Entry, role: str, settings: Settings) -> ExitCode:
    """Runs a role until the shutdown, then at most its grace longer."""
    stop = asyncio.Event()
    _log.info("starting", role=role, pid=os.getpid())
    _stop_on_signals(stop)
    running = asyncio.ensure_future(retry_transient(lambda: _attempt(entry, settings, stop), stop, operation=role))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await _end(running, role, settings.shutdown_grace_s)
    return _outcome(running, role, stop)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    announce_ready()


async def _attempt(entry: Entry, settings: Settings, stop: asyncio.Event) -> None:
    """The error of a group that decides about the exit code: a transient one only if all are."""
    try:
        await entry(settings, stop)
    except ExceptionGroup as group:
        others = [error for error in _leaves(group) if not isinstance(error, TransientError | ShutdownRequested)]
        if not others and any(isinstance(error, ShutdownRequested) for error in _leaves(group)):
            raise ShutdownRequested from group
        if not others:
            raise TransientError("; ".join(str(error) for error in _leaves(group))) from group
        decisive = [error for error in others if isinstance(error, ConfigurationError | FencedError)]
        if decisive or len(others) == 1:
            raise (decisive or others)[0] from group
        raise


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, ExceptionGroup) else [error])
    ]


async def _end(running: "asyncio.Future[None]", role: str, grace_s: float) -> None:
    """Waits for the role, and cancels it if it does not end. If it cannot be cancelled, the process exits without
    it, so that no process hangs."""
    await asyncio.wait({running}, timeout=grace_s + LAST_SECONDS)
    if running.done():
        return
    _log.error("stop_overdue", role=role, grace_s=grace_s)
    running.cancel()
    await asyncio.wait({running}, timeout=LAST_SECONDS)
    if not running.done():
        os._exit(ExitCode.BUG)


def _outcome(running: "asyncio.Future[None]", role: str, stop: asyncio.Event) -> ExitCode:
    if running.cancelled():
        return ExitCode.BUG
    error = running.exception()
    if error is not None and not isinstance(error, ShutdownRequested):
        raise error
    if not stop.is_set():
        _log.error("ended_by_itself", role=role)
        return ExitCode.BUG
    return ExitCode.OK


def import_roles() -> None:
    """Imports every role, for a process that forks them."""
    for role in ROLES.values():
        _entry(role.name)


def _entry(role: RoleName) -> RoleEntry:
    module, _, function = ROLES[role].entry.partition(":")
    run: RoleEntry = getattr(import_module(module), function)
    return run
