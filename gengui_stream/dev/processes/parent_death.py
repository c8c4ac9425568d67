"""Child processes that end with their parent, even when the parent is killed: the kernel kills them on Linux, a
guardian process on other systems."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache

from gengui_stream.dev.processes.prctl import die_with_parent


class Guardian:
    """A process that reads from a pipe that only the parent writes to. When the parent has ended, so does the pipe, and
    the guardian kills the remaining children."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gengui_stream.dev.processes.guardian"],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent
        )
        os.close(reading)

    def enroll(self) -> None:
        """Runs in the child before exec, so that every child is registered. Exec closes the child's end of the pipe."""
        os.write(self._pipe, b"%d\n" % os.getpid())


@cache
def end_with_parent() -> Callable[[], None]:
    """The function that a child runs before exec. On Linux, the kernel ends it with the thread that started it."""
    return die_with_parent if sys.platform == "linux" else Guardian().enroll
