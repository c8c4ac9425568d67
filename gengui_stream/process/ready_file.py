"""The signal of a child process to its parent that it now handles SIGTERM."""

import os
from pathlib import Path
from typing import Final

READY_FILE: Final = "GENGUI_READY_FILE"
"""The environment variable with the path of the file that the child creates."""


def announce_ready() -> None:
    """Creates the file if the parent process asked for it."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
