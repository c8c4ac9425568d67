"""`python -m gengui_stream.dev.reload`: prints a line for each change of the code or of `.env`, until it is ended."""

import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from watchfiles import watch

import gengui_stream
from gengui_stream.dev.reload.changes import ChangedModules
from gengui_stream.dev.reload.import_graph import PACKAGES, read_imports
from gengui_stream.dev.reload.messages import Change

ROOT: Final = Path(gengui_stream.__file__).parents[1]
QUIET_MS: Final = 200
"""A change is complete after this time without another one: a checkout of many files is one change."""

LONGEST_MS: Final = 5_000
LOOK_EVERY_MS: Final = 500
"""The interval of the checks of `.env`, which editors replace, and of the parent."""


def main() -> None:
    changes, parent, environment = ChangedModules(ROOT, read_imports), os.getppid(), _stamp()
    for files in _batches():
        if os.getppid() != parent:
            return
        if environment != (environment := _stamp()):
            _say(Change(files=(".env",), environment=True))
        if files:
            _say(changes.take(files))


def _batches() -> Iterator[Collection[Path]]:
    """Also yields empty ones, so that `.env` and the parent are checked."""
    folders = [path for package in PACKAGES if (path := ROOT / package).is_dir()]
    for batch in watch(
        *folders,
        watch_filter=lambda _, path: path.endswith(".py"),
        step=QUIET_MS,
        debounce=LONGEST_MS,
        rust_timeout=LOOK_EVERY_MS,
        yield_on_timeout=True,
    ):
        yield {Path(path) for _, path in batch}


def _stamp() -> tuple[int, int, int] | None:
    try:
        found = Path(".env").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _say(change: Change) -> None:
    sys.stdout.write(f"{change.encode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
