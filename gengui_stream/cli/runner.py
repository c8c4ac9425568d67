"""How every command runs: settings first, then its work, and each kind of error as one line and an exit code."""

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import asyncpg
import structlog
import typer
import uvloop

from gengui_stream.cli.output import complain
from gengui_stream.errors import ConfigurationError, PermanentError, TransientError
from gengui_stream.exit_codes import ExitCode
from gengui_stream.settings import Inspection, Settings, inspect_settings
from gengui_stream.telemetry import CHATTY, configure_logging, redact_text

_log = structlog.get_logger(__name__)


def perform(work: Callable[[Settings], Awaitable[ExitCode | None]]) -> NoReturn:
    """Awaits `work` with this process's settings, and ends the command with what it returns (None: all is well)."""

    def in_loop(settings: Settings) -> int | None:
        log_for_people(settings)
        return uvloop.run(_awaited(work, settings))

    perform_plainly(in_loop)


def log_for_people(settings: Settings) -> None:
    """For a command: what a library complains of comes back as an error, which is told in one line."""
    configure_logging(settings, "cli")
    if settings.log_level != "debug":
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)


def perform_plainly(work: Callable[[Settings], int | None]) -> NoReturn:
    """The same for work that runs a loop of its own."""
    perform_inspected(lambda inspection: work(inspection.valid()))


def perform_inspected(work: Callable[[Inspection], int | None]) -> NoReturn:
    """The same for work that wants to know where the settings come from, or that they are not valid."""
    try:
        code = _guarded(work)
    except BrokenPipeError:  # whoever read our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    raise typer.Exit(code or ExitCode.OK)


async def _awaited(work: Callable[[Settings], Awaitable[ExitCode | None]], settings: Settings) -> ExitCode | None:
    return await work(settings)


def _guarded(work: Callable[[Inspection], int | None]) -> int | None:
    try:
        return work(inspect_settings())
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - every kind has its line and its code
        code, lines = _told(error)
        complain(*lines)
        if code is ExitCode.BUG:
            _log.debug("crashed", exc_info=error)
        return code


def _told(error: Exception) -> tuple[ExitCode, list[str]]:
    """The exit code of what went wrong, and what to say about it."""
    match error:
        case ConfigurationError():
            return ExitCode.CONFIGURATION, error.faults
        case TransientError():
            return ExitCode.UNAVAILABLE, [str(error)]
        case PermanentError():
            return ExitCode.FINDING, [str(error)]
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return ExitCode.CONFIGURATION, [f"the tables are not ours of today ({error}): run `gengui-stream migrate`"]
        case (
            asyncpg.InvalidAuthorizationSpecificationError()
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.InsufficientPrivilegeError()
        ):
            return ExitCode.CONFIGURATION, [f"DATABASE_URL or DB_*: {error}"]
        case _:
            said = redact_text(f"{type(error).__name__}: {error}")
            return ExitCode.BUG, [f"a bug of ours: {said}", "LOG_LEVEL=debug shows where it came from"]
