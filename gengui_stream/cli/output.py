"""Printing: results on stdout, everything else on stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gengui_stream.printable import printable


def echo(line: str) -> None:
    """Prints one line of the result and flushes it, as the reader may be a pipe. Control characters are escaped."""
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def echo_json(value: object) -> None:
    """Prints one JSON document on one line. Ids and times become strings. Control characters that JSON allows in a
    string are escaped, which changes no value."""
    echo(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS).decode())


def shown_time(moment: datetime) -> str:
    """In UTC, to the millisecond, in every output for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def echo_fields(document: Mapping[str, object]) -> None:
    """Prints one field a line, the values in a column. Those of an object are lines of their own."""
    width = max(map(len, document))
    for name, value in document.items():
        parts = [f"{key}={part}" for key, part in value.items()] if isinstance(value, Mapping) else [_shown(value)]
        for number, part in enumerate(parts or [""]):
            head = "" if number else name
            echo(f"{head:<{width}}  {part}" if part else head)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return shown_time(value)
    return "" if value is None else str(value)


def echo_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table, numbers to the right, times in their one form; "none" without rows. In a pipe it is as wide as
    its cells, so that nothing is cut off."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    cells = [list(row) for row in rows]
    if not cells:
        echo("none")
        return
    for index, column in enumerate(columns):
        numeric = all(row[index] is None or isinstance(row[index], int | float) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(printable(_shown(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, markup=False)
    console.print(table)


def counted_progress() -> Progress:
    """A bar on stderr, only on a terminal."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def echo_progress(line: str) -> None:
    """Prints one line on stderr."""
    sys.stderr.write(line + "\n")


def echo_error(*lines: str) -> None:
    """Prints errors on stderr, one line each."""
    for line in lines:
        sys.stderr.write(f"gengui-stream: {printable(line)}\n")
