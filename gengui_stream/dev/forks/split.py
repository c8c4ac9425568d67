"""Forks a part of this process as a separate process, without its files, signals and terminal."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from gengui_stream.dev.processes.prctl import die_with_parent
from gengui_stream.process.exit_codes import ExitCode

STANDARD_MAX: Final = 2
"""The highest descriptor of standard input, output and error."""


def split_off(run: Callable[[], None], *, output: int, kept: int) -> int:
    """The id of a process that calls `run` and ends with it, or with this process. It writes to the file descriptor
    `output`, and has `kept` besides. Expects a process with one thread and no event loop."""
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _live(run, parent, output, kept)
    return pid


def _live(run: Callable[[], None], parent: int, output: int, kept: int) -> NoReturn:
    """Never returns to the callers, whose cleanup belongs to the parent."""
    code = int(ExitCode.BUG)
    try:
        _become(parent, output, kept)
        run()
        code = ExitCode.OK
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - it ends the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(parent: int, output: int, kept: int) -> None:
    die_with_parent()
    if os.getppid() != parent:
        os._exit(ExitCode.BUG)  # the parent ended before prctl was called
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, standard)
    _close_others(kept)


def _close_others(kept: int) -> None:
    """Closes the open ones one by one: if a process may have a billion descriptors, closing the whole range takes
    minutes."""
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if number > STANDARD_MAX and number != kept:
            with suppress(OSError):  # the descriptor of the directory itself
                os.close(number)
