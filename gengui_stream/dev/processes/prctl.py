"""prctl(2), which only Linux has: options of the calling process."""

import ctypes
import signal
from typing import Final

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15

_libc: Final = ctypes.CDLL(None)


def die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def name_process(name: str) -> None:
    """The name in `ps -o comm`, at most 15 bytes."""
    _libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
