"""Parses a queue entry into a job that the reference worker can draw. Pure and total."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

from gengui_stream.providers.local import entries
from gengui_stream.providers.local.entries import InvalidMessage, QueuedJob
from gengui_stream.worker.painter.rendering import Sketch
from schemas.fields import SIZE_MAX

SIDE_MIN: Final = 16

Side = Annotated[int, Field(ge=SIDE_MIN, le=SIZE_MAX)]
"""Pixels: a wider range than clients may request, bounded by what fits into memory."""


class DrawingJob(QueuedJob):
    """A job whose size the painter supports. `entry_id`: the entry of the queue, which says whose the job is."""

    width: Side
    height: Side
    entry_id: str = ""

    @property
    def sketch(self) -> Sketch:
        return Sketch(self.prompt, self.seed, self.width, self.height)


def parse(fields: Mapping[str, str]) -> DrawingJob | InvalidMessage:
    """Never raises."""
    return entries.parse(fields, DrawingJob)
