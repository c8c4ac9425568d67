"""Free disk space for the embedded servers."""

import shutil
from pathlib import Path
from typing import Final

from gengui_stream.errors import TransientError

NEEDED: Final = 64_000_000
"""Bytes for a start; a demo of eight generations takes 45 MB, most of it PostgreSQL's."""


def check_room(directory: Path, needed: int = NEEDED) -> None:
    """Raises TransientError if fewer than `needed` bytes are free; otherwise servers would fail one after another, each
    with another error."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TransientError(
            f"no room in {directory}: the embedded servers need {needed // 1_000_000} MB there to start, and "
            f"{free // 1_000_000} MB are free; make room, or choose another directory (`make demo` uses TMPDIR)"
        )
