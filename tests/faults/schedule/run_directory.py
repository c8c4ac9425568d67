"""Where a run has its data and logs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gengui_stream.dev.postgres.data_directory import temporary_directory


@contextmanager
def run_directory(kept: Path | None, prefix: str) -> Iterator[Path]:
    """`kept`: a new directory, which stays. Without it, one whose name begins with `prefix`, removed at the end."""
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept
    else:
        with temporary_directory(prefix) as directory:
            yield directory
