"""The progress of the download of Apache Kafka: a bar on stderr, or one line if stderr is not a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


@contextmanager
def fetch_progress(version: str, files: int, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number of further bytes, from any thread. `total` in bytes."""
    console = Console(file=sys.stderr)
    what = f"Apache Kafka {version}"
    if not console.is_terminal:
        noun = "file" if files == 1 else "files"
        sys.stderr.write(f"fetching {what} from Maven Central, once: {files} {noun}, {total / 1e6:.1f} MB ...\n")
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"fetching {what} from Maven Central, once", total=total)
        yield lambda number: progress.advance(task, number)
