"""What commands print: results on stdout, everything else on stderr."""

import sys
from collections.abc import Iterable, Sequence

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def say(line: str) -> None:
    """One line of the result, at once: the reader may be a pipe that waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_json(value: object) -> None:
    """One JSON document on one line. Ids and moments become text."""
    say(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS).decode())


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Numbers to the right. In a pipe it is as wide as its cells, so that nothing is cut off."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    cells = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, markup=False)
    console.print(table)


def complain(*lines: str) -> None:
    """Why the command did not do what it should, a line each, on stderr."""
    for line in lines:
        sys.stderr.write(f"gengui-stream: {line}\n")
