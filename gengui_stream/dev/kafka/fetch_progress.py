"""How much of Apache Kafka has arrived: a bar of bytes on stderr, or one line where stderr is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


@contextmanager
def fetch_progress(version: str, files: int, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes numbers of further bytes, from any thread. `total` in bytes."""
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
