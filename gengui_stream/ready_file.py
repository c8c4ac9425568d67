"""How a process announces to the one that started it that a signal ends it in good order."""

import os
from pathlib import Path
from typing import Final

READY_FILE: Final = "GENGUI_READY_FILE"
"""A variable of the environment: the file that the process makes then."""


def announce_ready() -> None:
    """Where the process that started this one asked for that."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
