"""New files that only their owner may read, complete or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def opened_private(path: Path) -> Iterator[BinaryIO]:
    """The file appears at the end of the block, and not if the block fails. Raises FileExistsError when there is one of
    that name, and other kinds of OSError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # unlike a rename, it replaces no file
    finally:
        unfinished.unlink(missing_ok=True)
