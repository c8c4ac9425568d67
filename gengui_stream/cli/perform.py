"""How every command runs: settings first, then its work, and each kind of error as one line and an exit code."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import asyncpg
import typer
import uvloop

from gengui_stream.cli.output import complain
from gengui_stream.errors import ConfigurationError, GenGuiError, TransientError
from gengui_stream.exit_codes import ExitCode
from gengui_stream.settings import Settings, load_settings
from gengui_stream.telemetry import configure_logging


def perform(work: Callable[[Settings], Awaitable[ExitCode | None]]) -> NoReturn:
    """Awaits `work` with this process's settings, and ends the command with what it returns (None: all is well)."""

    def in_loop(settings: Settings) -> int | None:
        configure_logging(settings, "cli")
        return uvloop.run(_awaited(work, settings))

    perform_plainly(in_loop)


def perform_plainly(work: Callable[[Settings], int | None]) -> NoReturn:
    """The same for work that runs a loop of its own."""
    try:
        code = _guarded(work)
    except BrokenPipeError:  # whoever read our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    raise typer.Exit(code or ExitCode.OK)


async def _awaited(work: Callable[[Settings], Awaitable[ExitCode | None]], settings: Settings) -> ExitCode | None:
    return await work(settings)


def _guarded(work: Callable[[Settings], int | None]) -> int | None:
    try:
        return work(load_settings())
    except ConfigurationError as error:
        complain(*error.faults)
        return ExitCode.CONFIGURATION
    except TransientError as error:
        complain(str(error))
        return ExitCode.UNAVAILABLE
    except GenGuiError as error:
        complain(str(error))
        return ExitCode.FINDING
    except asyncpg.UndefinedTableError as error:
        complain(f"the database lacks a table ({error}): run `gengui-stream migrate`")
        return ExitCode.CONFIGURATION
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        complain(f"DATABASE_URL or DB_*: {error}")
        return ExitCode.CONFIGURATION
