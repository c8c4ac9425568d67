"""Runs commands: reads the settings, does the work, and turns each kind of error into one line and an exit code."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import asyncpg
import structlog
import typer
import uvloop

from gengui_stream.cli.output import echo_error
from gengui_stream.errors import ConfigurationError, PermanentError, TlsError, TransientError
from gengui_stream.logging import configure_logging, log_for_people, redact_text
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.process.proxies import keep_local_direct
from gengui_stream.settings import DEV_ENV, Inspection, Settings, inspect_settings, load_settings

ADDRESSES: Final = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "DB_HOST", "DB_PORT", "REDIS_URL", "S3_ENDPOINT")

_log = structlog.get_logger(__name__)


def run_command(work: Callable[[Settings], Awaitable[ExitCode | None]]) -> NoReturn:
    """Awaits `work` with the settings, and ends the command with its exit code; None is success."""

    def in_loop(settings: Settings) -> int | None:
        log_for_people(settings, "cli")
        return uvloop.run(_awaited(work, settings))

    run_sync_command(in_loop)


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
    inspection: Inspection | None = None
    try:
        inspection = inspect_settings()
        return work(inspection)
    except (BrokenPipeError, typer.BadParameter):
        raise
    except Exception as error:  # noqa: BLE001 - each kind of error has its line and its exit code
        return report(error, inspection)


def report(error: Exception, inspection: Inspection | None = None) -> ExitCode:
    """Prints the lines of the error that ended a command, and returns its exit code."""
    code, lines = _exit_code_and_lines(error, inspection)
    echo_error(*lines)
    if code is ExitCode.BUG:
        if not structlog.is_configured():
            log_before_settings()
        _log.debug("crashed", exc_info=error)
    return code


def _exit_code_and_lines(error: Exception, inspection: Inspection | None) -> tuple[ExitCode, list[str]]:
    """The exit code and the message of an error."""
    match error:
        case ConfigurationError():
            return ExitCode.CONFIGURATION, error.faults
        case TlsError():
            return ExitCode.CONFIGURATION, [str(error)]
        case TransientError():
            question = "is `make dev` running? " if inspection and names_no_server(inspection) else ""
            return ExitCode.UNAVAILABLE, [f"{error}; {question}`gengui-stream doctor` shows the remedy"]
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


def names_no_server(inspection: Inspection) -> bool:
    """Whether the servers are those that `make dev` started here, or the defaults."""
    variables = inspection.variables
    return all(variables[name].source == str(DEV_ENV) for name in ADDRESSES if name in variables)
