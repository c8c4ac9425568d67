"""Progress bars on stderr: one per generation while there are few, and one of all."""

import sys
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gengui_stream.dev.demo.run import Tracked

BARS_MAX: Final = 16


class DemoProgress:
    """Shows nothing if stderr is not a terminal."""

    def __init__(self, count: int) -> None:
        console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
        self._count = count
        self._tasks: dict[UUID, TaskID] = {}
        self._done: set[UUID] = set()

    def __enter__(self) -> Self:
        self._bars.start()
        self._all = self._bars.add_task("all", total=self._count, state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, generation_id: UUID, one: Tracked) -> None:
        if one.settled:
            self._done.add(generation_id)
            self._bars.update(self._all, completed=len(self._done), state=f"{len(self._done)} of {self._count}")
        if self._count <= BARS_MAX:
            task = self._task(generation_id)
            state = one.thumbnail or one.status
            self._bars.update(task, description=one.prompt, completed=one.percent, state=state)

    def _task(self, generation_id: UUID) -> TaskID:
        if generation_id not in self._tasks:
            self._tasks[generation_id] = self._bars.add_task("", total=100, state="")
        return self._tasks[generation_id]
