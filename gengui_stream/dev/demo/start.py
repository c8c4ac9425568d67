"""The first second of a demo: the servers load while this process imports the other modules, which takes as long. So
this module imports few."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.process.exit_codes import ExitCode

INTERRUPTED: Final = 130

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DemoStart:
    """`began`: of the monotonic clock. `directory` is removed at the end."""

    began: float
    directory: Path
    stack: EmbeddedStack


def start_demo(output: Path, run: Callable[[DemoStart], T], finish: Callable[[T], int]) -> int:
    """The exit code: that of `finish`, which gets the result of `run` once the demo is cleaned up; or that of the error
    that ended it."""
    began = time.monotonic()
    try:
        _check_writable(output)
    except OSError as error:
        say(f"the contact sheet cannot be written to {output}: {error.strerror}; choose another --output")
        return ExitCode.USAGE
    try:
        with temporary_directory("gengui-demo-") as directory:
            outcome = _with_servers(directory, began, run)
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted; everything was stopped")
        return INTERRUPTED
    except ConfigurationError as error:
        say(str(error))
        return ExitCode.CONFIGURATION
    except TransientError as error:
        say(f"the demo failed: {error}")
        return ExitCode.UNAVAILABLE
    return finish(outcome)


def _check_writable(output: Path) -> None:
    """Raises OSError now rather than at the end. Does not change an existing file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    existed = output.exists()
    output.open("ab").close()
    if not existed:
        output.unlink()


def _with_servers(directory: Path, began: float, run: Callable[[DemoStart], T]) -> T:
    """SIGTERM and SIGHUP interrupt it, as Ctrl-C does by default."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    stack = EmbeddedStack(directory, say=say)
    say("starting the servers ...")
    try:
        asyncio.run(stack.launch())
        return run(DemoStart(began, directory, stack))
    finally:
        asyncio.run(stack.kill())


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
