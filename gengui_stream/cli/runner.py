"""Runs commands: reads the settings, does the work, and turns each kind of error into one line and an exit code."""

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import asyncpg
import structlog
import typer
import uvloop

from gengui_stream.cli.output import echo_error
from gengui_stream.errors import ConfigurationError, PermanentError, TransientError
from gengui_stream.logging import CHATTY, configure_logging, redact_text
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.process.proxies import keep_local_direct
from gengui_stream.settings import Inspection, Settings, inspect_settings, load_settings

_log = structlog.get_logger(__name__)


def run_command(work: Callable[[Settings], Awaitable[ExitCode | None]]) -> NoReturn:
    """Awaits `work` with the settings, and ends the command with its exit code; None is success."""

    def in_loop(settings: Settings) -> int | None:
        log_for_people(settings)
        return uvloop.run(_awaited(work, settings))

    run_sync_command(in_loop)


def log_for_people(settings: Settings) -> None:
    """Hides the log lines of libraries, whose errors a command raises and prints in one line."""
    configure_logging(settings, "cli")
    if settings.log_level != "debug":
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)


def log_before_settings() -> None:
    """structlog's own defaults would print a traceback with the values of local variables, secrets among them."""
    level = {"LOG_LEVEL": os.environ["LOG_LEVEL"]} if os.environ.get("LOG_LEVEL") == "debug" else {}
    configure_logging(load_settings(level, env_files=()), "cli")


def run_sync_command(work: Callable[[Settings], int | None]) -> NoReturn:
    """The same for work that is not a coroutine."""
    run_inspected_command(lambda inspection: work(inspection.valid()))


def run_inspected_command(work: Callable[[Inspection], int | None]) -> NoReturn:
    """The same for work that also needs the sources of the settings, or runs with invalid ones."""
    try:
        code = _guarded(work)
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    raise typer.Exit(code or ExitCode.OK)


async def _awaited(work: Callable[[Settings], Awaitable[ExitCode | None]], settings: Settings) -> ExitCode | None:
    return await work(settings)


def _guarded(work: Callable[[Inspection], int | None]) -> int | None:
    log_before_settings()
    keep_local_direct(os.environ)
    try:
        return work(inspect_settings())
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - each kind of error has its line and its exit code
        code, lines = _exit_code_and_lines(error)
        echo_error(*lines)
        if code is ExitCode.BUG:
            _log.debug("crashed", exc_info=error)
        return code


def _exit_code_and_lines(error: Exception) -> tuple[ExitCode, list[str]]:
    """The exit code and the message of an error."""
    match error:
        case ConfigurationError():
            return ExitCode.CONFIGURATION, error.faults
        case TransientError():
            return ExitCode.UNAVAILABLE, [f"{error}; `gengui-stream doctor` shows the remedy"]
        case PermanentError():
            return ExitCode.FINDING, [str(error)]
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return ExitCode.CONFIGURATION, [f"the tables are of another version ({error}): run `gengui-stream migrate`"]
        case (
            asyncpg.InvalidAuthorizationSpecificationError()
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.InsufficientPrivilegeError()
        ):
            return ExitCode.CONFIGURATION, [f"DATABASE_URL or DB_*: {error}"]
        case _:
            message = redact_text(f"{type(error).__name__}: {error}")
            return ExitCode.BUG, [f"a bug in gengui-stream: {message}", "LOG_LEVEL=debug shows the traceback"]
